<?php
/**
 * Adds one notification to a stream of Redis: php redis-stream.php [room] [text]
 * Needs ext-redis, or Predis. It waits there until Postroom has taken it.
 */
declare(strict_types=1);

$url = getenv('REDIS_URL') ?: 'redis://127.0.0.1:6379';
$stream = getenv('REDIS_STREAM') ?: 'postroom';

try {
    $body = json_encode([
        'room' => $argv[1] ?? 'public.orders',
        'event' => 'order.paid',
        'data' => $argv[2] ?? ['order' => 42, 'total' => '19.90'],
        // The same when you try again, so that it is sent once. Better still one that the event itself has: order-42-paid.
        'key' => bin2hex(random_bytes(16)),
    ], JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE);

    $redis = redis($url);
    // About so many entries are kept, taken or not: more than Postroom may ever be behind.
    $id = $redis instanceof Redis
        ? $redis->xAdd($stream, '*', ['json' => $body], 100000, true)
        : $redis->executeRaw(['XADD', $stream, 'MAXLEN', '~', '100000', '*', 'json', $body], $failed);
    if (!is_string($id) || !empty($failed)) {
        throw new RuntimeException($redis instanceof Redis ? (string) $redis->getLastError() : (string) $id);
    }
    echo "$id is in the stream $stream\n";
} catch (Throwable $error) {
    fwrite(STDERR, "Not sent: {$error->getMessage()}\n");
    exit(1);
}

/** ext-redis where it is there, else Predis; connected, with timeouts. */
function redis(string $url)
{
    $at = (parse_url($url) ?: []) + ['scheme' => 'redis', 'host' => $url, 'port' => 6379];
    if (extension_loaded('redis')) {
        $redis = new Redis();
        // Under PHP-FPM the connection outlives the request; the name keeps it apart from those of other scripts.
        $host = ($at['scheme'] === 'rediss' ? 'tls://' : '') . $at['host'];
        try {
            $redis->pconnect($host, $at['port'], 1.0, 'postroom', 0, 1.0);
        } catch (RedisException $error) {
            // ext-redis says only what went wrong, not where. The URL itself may have a password.
            $place = "{$at['scheme']}://{$at['host']}:{$at['port']}";
            throw new RuntimeException("no Redis at $place ({$error->getMessage()}); is REDIS_URL right?");
        }
        if (isset($at['pass'])) {
            $password = rawurldecode($at['pass']);
            $redis->auth(empty($at['user']) ? $password : [rawurldecode($at['user']), $password]);
        }
        $redis->select((int) ltrim($at['path'] ?? '', '/'));
        return $redis;
    }
    foreach ([__DIR__ . '/vendor', dirname(__DIR__) . '/vendor', '/usr/share/php/Predis'] as $folder) {
        if (!class_exists(Predis\Client::class) && is_file("$folder/autoload.php")) {
            require "$folder/autoload.php";
        }
    }
    if (!class_exists(Predis\Client::class)) {
        throw new RuntimeException('install ext-redis, or: composer require predis/predis');
    }
    return new Predis\Client("$url?timeout=1&read_write_timeout=1");
}
