<?php
/**
 * Publishes one notification on a channel of Redis: php redis-publish.php [room] [text]
 * Needs ext-redis, or Predis. Who is not listening at this moment never gets it: Redis keeps nothing.
 */
declare(strict_types=1);

$url = getenv('REDIS_URL') ?: 'redis://127.0.0.1:6379';
$channel = getenv('REDIS_CHANNEL') ?: 'postroom';   // one of Postroom's REDIS_CHANNELS

try {
    $body = json_encode([
        'room' => $argv[1] ?? 'public.orders',
        'event' => 'order.paid',
        'data' => $argv[2] ?? ['order' => 42, 'total' => '19.90'],
        'key' => bin2hex(random_bytes(16)),   // needed only where the same may be published twice
    ], JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE);

    $listeners = redis($url)->publish($channel, $body);
    // On a Redis Cluster this counts one node's listeners; elsewhere nobody means that it is lost.
    if ((int) $listeners === 0) {
        throw new RuntimeException("nobody listens on $channel; is Postroom started with REDIS_CHANNELS=$channel?");
    }
    echo "published to $listeners listeners on $channel\n";
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
