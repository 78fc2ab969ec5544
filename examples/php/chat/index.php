<?php
/**
 * The page of the chat, with its last 100 messages.
 */
declare(strict_types=1);

require __DIR__ . '/setup.php';

session_start(['read_and_close' => true]);
if (!isset($_SESSION['user'])) {
    header('Location: ../login.php');
    exit;
}
$page = [
    'me' => $_SESSION['user'],
    'since' => $postroom->newest(),   // first the cursor, then what is stored: the page misses nothing
    'history' => $database->query('SELECT * FROM messages ORDER BY rowid DESC LIMIT 100')->fetchAll(),
];
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Chat</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="../site.css">
<main class="chat">
  <h1>Chat <small id="state" class="connecting">connecting</small></h1>
  <ol id="messages"></ol>
  <p id="note" role="status"></p>
  <form id="say" class="row"><input name="text" aria-label="Message" placeholder="Say something" maxlength="1000" autocomplete="off" required autofocus><button>Send</button></form>
</main>
<script type="application/json" id="page"><?= json_encode($page, JSON_THROW_ON_ERROR | JSON_HEX_TAG) ?></script>
<script src="/client.js"></script>
<script src="chat.js"></script>
