require "rails"
require "action_controller/railtie"
require "propshaft"
require "propshaft/railtie"

class Shop < Rails::Application
  config.load_defaults 7.0
  config.eager_load = true
  config.hosts.clear
  config.secret_key_base = ENV.fetch("SECRET_KEY_BASE", "not a secret here")
  config.logger = Logger.new($stdout)
  config.root = File.expand_path("..", __dir__)
end
