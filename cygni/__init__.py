"""The application: joins the stages into a platform.

May import: config, gitserver, buildpacks, deployer, router.
"""
