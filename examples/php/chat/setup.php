<?php
declare(strict_types=1);

require_once __DIR__ . '/../../../clients/php/Postroom.php';

$postroom = new Postroom(getenv('POSTROOM_URL'), getenv('POSTROOM_KEY'), ['webhookSecret' => getenv('WEBHOOK_SECRET')]);

$database = new PDO('sqlite:' . getenv('DATABASE'), null, null, [
    PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
    PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC,
]);
$database->exec('CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, user TEXT, text TEXT, at TEXT)');
