<?php
/**
 * What browsers publish into the room inbox.chat comes here: WEBHOOK_URL=http://127.0.0.1:8000/chat/webhook.php
 * PHP stores it, and then tells the room chat.
 */
declare(strict_types=1);

require __DIR__ . '/setup.php';

try {
    $events = $postroom->verifyWebhook(file_get_contents('php://input'), getallheaders())['events'];
} catch (PostroomException $error) {
    http_response_code(401);
    exit($error->getDetail());
}
$insert = $database->prepare('INSERT OR IGNORE INTO messages VALUES (:id, :user, :text, :at)');
foreach ($events as $event) {
    $text = $event['data']['text'] ?? null;
    $isOurs = $event['type'] === 'message' && $event['room'] === 'inbox.chat';
    if ($isOurs && is_string($text) && trim($text) !== '' && strlen($text) <= 4000) {
        $message = ['id' => $event['id'], 'user' => $event['user'], 'text' => $text, 'at' => $event['at']];
        // An event may come again, with the same id. It is stored once, and told once.
        $insert->execute($message);
        $postroom->toRoom('chat', 'said', $message, ['key' => $event['id']]);
    }
}
