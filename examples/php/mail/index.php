<?php
/**
 * Users write to each other. Who has this page open sees the text at once; who has not gets a mail (webhook.php).
 * The README beside this folder says how to start it.
 */
declare(strict_types=1);

require __DIR__ . '/../../../clients/php/Postroom.php';

$url = getenv('POSTROOM_URL') ?: 'http://127.0.0.1:8080';
$postroom = new Postroom($url, getenv('POSTROOM_KEY') ?: null, ['jwtSecret' => getenv('JWT_SECRET') ?: null]);
$user = $_GET['user'] ?? 'li';   // only to try it: take the user from your login
$names = array_filter([$user, $_POST['to'] ?? 'bo'], fn ($name) => is_string($name) && preg_match('/^[a-z]{1,20}$/D', $name));
if (count($names) < 2) {
    http_response_code(400);
    exit('A name has 1 to 20 small letters.');
}
if (isset($_GET['token'])) {
    exit($postroom->token($user, [], 600));
}
if (is_string($_POST['text'] ?? null)) {
    $seconds = (int) (getenv('ACK_SECONDS') ?: 10);   // a page that comes back needs a moment to get it
    $postroom->toUser($_POST['to'], 'letter', ['from' => $user, 'text' => $_POST['text']], ['ack' => $seconds]);
    http_response_code(204);
    exit;
}
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title><?= $user ?></title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="../site.css">
<main>
<h1>You are <?= $user ?> <small id="state" class="connecting">connecting</small></h1>
<form>
  <label>To <input name="to" value="bo" pattern="[a-z]{1,20}" required></label>
  <label>Text <input name="text" maxlength="1000" required></label>
  <button>Send</button>
</form>
<ul></ul>
</main>
<script src="<?= htmlspecialchars($url) ?>/client.js"></script>
<script>
  const room = postroom(<?= json_encode("$url/ws", JSON_HEX_TAG) ?>, {
    token: async () => {
      const answer = await fetch('?token&user=<?= $user ?>');
      if (!answer.ok) throw new Error(`no token: HTTP ${answer.status}`);
      return answer.text();
    },
  });
  room.onstate = state => {
    const mark = document.querySelector('#state');
    mark.textContent = mark.className = state;
  };
  // When this has returned, the client acknowledges. Then no mail is sent.
  room.on('letter', ({ from, text }) => {
    const line = document.createElement('li');
    line.textContent = `${from}: ${text}`;
    document.querySelector('ul').append(line);
  });
  const form = document.querySelector('form');
  form.onsubmit = async event => {
    event.preventDefault();
    const answer = await fetch('', { method: 'POST', body: new FormData(form) }).catch(() => ({ ok: false }));
    if (answer.ok) form.elements.text.value = '';
    else alert('It was not sent.');
  };
</script>
