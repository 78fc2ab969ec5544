<?php
/**
 * Sends one notification over HTTP: php curl.php [room] [text]
 * Needs ext-curl, and POSTROOM_KEY: the server prints one at its start.
 */
declare(strict_types=1);

$url = getenv('POSTROOM_URL') ?: 'http://127.0.0.1:8080';
$key = getenv('POSTROOM_KEY') ?: '';

try {
    if ($key === '') {
        throw new RuntimeException('set POSTROOM_KEY; the server prints one at its start');
    }
    if (!extension_loaded('curl')) {
        throw new RuntimeException('ext-curl is missing (Debian: apt install php-curl)');
    }
    $body = json_encode([
        'room' => $argv[1] ?? 'public.orders',
        'event' => 'order.paid',
        'data' => $argv[2] ?? ['order' => 42, 'total' => '19.90'],
        // The same in every try, so that it is sent once. Better still one that the event itself has: order-42-paid.
        'key' => bin2hex(random_bytes(16)),
    ], JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE);

    $curl = curl_init("$url/notify");   // keep the handle: the next request then uses the same connection
    curl_setopt_array($curl, [
        CURLOPT_POSTFIELDS => $body,
        CURLOPT_HTTPHEADER => ["Authorization: Bearer $key", 'Content-Type: application/json'],
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_CONNECTTIMEOUT_MS => 300,
        CURLOPT_TIMEOUT_MS => 1000,
        CURLOPT_NOSIGNAL => true,   // timeouts below a second need it
    ]);
    for ($try = 1; ; $try++) {
        $text = curl_exec($curl);
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        // What was refused would be refused again; no answer, and 5xx, may pass.
        if (($text !== false && $status < 500) || $try === 3) {
            break;
        }
        usleep(100000 * $try);
    }
    if ($text === false) {
        throw new RuntimeException("no answer from $url: " . curl_error($curl));
    }
    $answer = json_decode($text, true);
    if ($status !== 200) {
        throw new RuntimeException($answer['detail'] ?? "$url answered $status; is that Postroom?");
    }
    echo "{$answer['id']} went to {$answer['connections']} connections\n";
} catch (Throwable $error) {
    fwrite(STDERR, "Not sent: {$error->getMessage()}\n");
    exit(1);
}
