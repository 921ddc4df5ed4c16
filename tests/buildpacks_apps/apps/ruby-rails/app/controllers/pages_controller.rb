class PagesController < ActionController::Base
  def show
    render plain: "Rails #{Rails.version}, #{helpers.asset_path('shop.css')}"
  end
end
