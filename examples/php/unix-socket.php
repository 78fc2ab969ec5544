<?php
/**
 * Sends one notification over Postroom's Unix socket: php unix-socket.php [room] [text]
 * Needs ext-curl, and a user or group that may write to the socket's file. There is no key.
 */
declare(strict_types=1);

$socket = getenv('NOTIFY_SOCKET') ?: '/tmp/postroom.sock';

try {
    if (!extension_loaded('curl')) {
        throw new RuntimeException('ext-curl is missing (Debian: apt install php-curl)');
    }
    $body = json_encode([
        'room' => $argv[1] ?? 'public.orders',
        'event' => 'order.paid',
        'data' => $argv[2] ?? ['order' => 42, 'total' => '19.90'],
        // The same when you try again, so that it is sent once. Better still one that the event itself has: order-42-paid.
        'key' => bin2hex(random_bytes(16)),
    ], JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE);

    $curl = curl_init('http://localhost/notify');   // the name matters to nobody
    curl_setopt_array($curl, [
        CURLOPT_UNIX_SOCKET_PATH => $socket,
        CURLOPT_PROXY => '',   // whatever http_proxy says
        CURLOPT_POSTFIELDS => $body,
        CURLOPT_HTTPHEADER => ['Content-Type: application/json'],
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_TIMEOUT_MS => 1000,
        CURLOPT_NOSIGNAL => true,
    ]);
    $text = curl_exec($curl);
    if ($text === false) {
        $cause = is_writable($socket) ? curl_error($curl) : 'there is no such file, or this user may not write to it';
        throw new RuntimeException("no answer from $socket: $cause");
    }
    $answer = json_decode($text, true);
    $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
    if ($status !== 200) {
        throw new RuntimeException($answer['detail'] ?? "$socket answered $status; is that Postroom?");
    }
    echo "{$answer['id']} went to {$answer['connections']} connections\n";
} catch (Throwable $error) {
    fwrite(STDERR, "Not sent: {$error->getMessage()}\n");
    exit(1);
}
