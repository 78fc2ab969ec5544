<?php
/**
 * What nobody acknowledged in time comes here: WEBHOOK_URL=http://127.0.0.1:8000/mail/webhook.php
 * Each event makes one mail.
 */
declare(strict_types=1);

require __DIR__ . '/../../../clients/php/Postroom.php';

$postroom = new Postroom(getenv('POSTROOM_URL'), getenv('POSTROOM_KEY'), ['webhookSecret' => getenv('WEBHOOK_SECRET')]);
try {
    $events = $postroom->verifyWebhook(file_get_contents('php://input'), getallheaders())['events'];
} catch (PostroomException $error) {
    http_response_code(401);
    exit($error->getDetail());
}
$file = getenv('DATABASE') ?: sys_get_temp_dir() . '/postroom-mail.sqlite';
$database = new PDO("sqlite:$file", null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$database->exec('CREATE TABLE IF NOT EXISTS mails (event TEXT PRIMARY KEY)');
$insert = $database->prepare('INSERT OR IGNORE INTO mails VALUES (?)');

foreach ($events as $event) {
    if ($event['type'] !== 'notification.missed' || $event['user'] === null || $event['notification']['event'] !== 'letter') {
        continue;
    }
    ['from' => $from, 'text' => $text] = $event['notification']['data'];
    $headers = [
        'From' => 'postroom@example.com',
        'Content-Type' => 'text/plain; charset=UTF-8',
        'Content-Transfer-Encoding' => 'quoted-printable',
    ];
    // An event may come again, with the same id. If the mail cannot be sent, the id is not kept, and it comes again.
    $database->beginTransaction();
    $insert->execute([$event['id']]);
    $isNew = $insert->rowCount() === 1;
    if ($isNew && !mail("{$event['user']}@example.com", "A letter from $from", quoted_printable_encode($text), $headers)) {
        $database->rollBack();
        http_response_code(500);
        exit('The mail was not sent.');
    }
    $database->commit();
}
