<?php

namespace Acme;

final class Words
{
    public static function hello(): string
    {
        return mb_strtoupper("hello from php ") . PHP_MAJOR_VERSION;
    }
}
