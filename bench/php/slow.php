<?php

/** Answers as call.php, but waits 50 ms first, as for a slow query. */

declare(strict_types=1);

usleep(50_000);

require __DIR__ . '/call.php';
