"""Images from trees: BuildKit through the engine's own API, without a command-line client.

`engine.BuildKitBuilder` builds, `images.Images` tags, lists and removes, `client.EngineClient` carries the calls.

May import: buildpacks.ports, config, third parties.
"""
