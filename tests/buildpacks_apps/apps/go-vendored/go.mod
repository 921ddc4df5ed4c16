module example.com/acme/shop

go 1.25

require example.com/acme/words v1.0.0
