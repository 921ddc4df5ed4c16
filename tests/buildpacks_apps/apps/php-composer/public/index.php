<?php

require __DIR__ . "/../vendor/autoload.php";

echo Acme\Words::hello(), " at ", parse_url($_SERVER["REQUEST_URI"], PHP_URL_PATH);
