require "sinatra"

set :host_authorization, { permitted_hosts: [] }
get("/") { "Sinatra #{Sinatra::VERSION} says hello" }

run Sinatra::Application
