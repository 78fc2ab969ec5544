<?php
/**
 * A page that shows who is there. In this folder: php -S 127.0.0.1:8000, then open http://127.0.0.1:8000/online.php
 * Needs ext-curl, and POSTROOM_KEY and JWT_SECRET: the server prints them at its start.
 */
declare(strict_types=1);

require __DIR__ . '/../../clients/php/Postroom.php';

const ROOM = 'presence.office';
$url = getenv('POSTROOM_URL') ?: 'http://127.0.0.1:8080';   // where PHP reaches Postroom
$public = getenv('POSTROOM_PUBLIC_URL') ?: $url;            // where browsers reach it

session_start(['cookie_httponly' => true, 'cookie_samesite' => 'Lax', 'use_strict_mode' => true]);
$_SESSION += ['csrf' => bin2hex(random_bytes(16)), 'me' => null];
$me = $_SESSION['me'];   // your application has users of its own; here it is somebody who typed a name
$here = null;
$trouble = '';

try {
    $postroom = new Postroom($url, getenv('POSTROOM_KEY') ?: null, ['jwtSecret' => getenv('JWT_SECRET') ?: null]);
    if (isset($_GET['token'])) {   // the page asks for its first connection, and before a token expires
        http_response_code($me === null ? 401 : 200);
        header('Content-Type: text/plain; charset=utf-8');
        exit($me === null ? 'Say your name first.' : $postroom->token($me['user'], [ROOM], 600, $me['info']));
    }
    if ($_SERVER['REQUEST_METHOD'] === 'POST') {
        $form = array_filter($_POST, 'is_string') + ['csrf' => '', 'name' => '', 'user' => ''];
        $name = trim($form['name']);
        if (!hash_equals($_SESSION['csrf'], $form['csrf'])) {
            $trouble = 'This form is too old. Please try again.';
        } elseif ($me !== null && $form['user'] !== '') {
            // Check here who may do this. Tokens of the user still hold; revoke() would make them void.
            $postroom->toUser($form['user'], 'thrown-out', ['by' => $me['info']['name']], ['ttl' => 0]);
            $postroom->removeUser($form['user']);
        } elseif (preg_match('/^[^\p{Cc}]{1,30}$/u', $name) !== 1) {
            $trouble = 'A name has 1 to 30 characters.';
        } else {
            session_regenerate_id(true);
            $info = ['name' => $name, 'hue' => random_int(0, 359)];   // what the others see
            $_SESSION['me'] = ['user' => bin2hex(random_bytes(8)), 'info' => $info];
        }
        if ($trouble === '') {
            header('Location: online.php', true, 303);
            exit;
        }
        http_response_code(400);
    }
    if ($me !== null) {
        $rooms = iterator_to_array($postroom->rooms(), false);
        $members = iterator_to_array($postroom->members(ROOM), false);
        $tabs = $postroom->online([$me['user']])['online'][$me['user']];
        $here = $postroom->room(ROOM);
    }
} catch (PostroomException | InvalidArgumentException $error) {
    http_response_code(503);
    // For developers. Tell visitors only that it does not work at the moment.
    $trouble = $error instanceof PostroomException ? $error->getDetail() : $error->getMessage();
    if (isset($_GET['token'])) {
        exit($trouble);
    }
}

function e(string $text): string
{
    return htmlspecialchars($text, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
}

$nonce = base64_encode(random_bytes(16));
$csrf = '<input type="hidden" name="csrf" value="' . e($_SESSION['csrf']) . '">';
$sockets = preg_replace('/^http/', 'ws', $public);
header("Content-Security-Policy: default-src 'none'; script-src 'nonce-$nonce'; style-src 'nonce-$nonce'; img-src data:; "
    . "connect-src 'self' $sockets; form-action 'self'; base-uri 'none'; frame-ancestors 'none'");
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>In the office</title>
<link rel="icon" href="data:,">
<style nonce="<?= $nonce ?>">
  :root { color-scheme: light dark; --paper: #f5f4ef; --sheet: #fff; --ink: #20252b; --soft: #5a616a; --line: #dedcd3; --accent: #17585f; --bad: #ad2a21; }
  @media (prefers-color-scheme: dark) { :root { --paper: #131618; --sheet: #1b1f22; --ink: #e7e6e1; --soft: #a3a9b0; --line: #2e3439; --accent: #86c8cd; --bad: #f0938a; } }
  * { box-sizing: border-box; margin: 0; }
  body { max-width: 48rem; margin: auto; padding: clamp(1.25rem, 6vw, 4rem) 1rem; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
  h1 { font-size: 1.75rem; line-height: 1.2; }
  #count:not(:empty) { margin-left: .25rem; padding: 0 .625rem; border-radius: 1rem; background: var(--accent); color: var(--sheet); font-size: 1.125rem; vertical-align: .2rem; }
  .soft, em, li button { color: var(--soft); font-size: .875rem; }
  .open::before { content: "● "; color: #2f9a5a; }
  .waiting::before, .closed::before { content: "● "; color: #d98a1f; }
  .waiting ~ ul { opacity: .5; }
  #news { height: 1.5rem; margin: .75rem 0; color: var(--accent); font-weight: 600; }
  #news span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; animation: fade 5s forwards; }
  @keyframes fade { 70% { opacity: 1; } to { opacity: 0; } }
  section, li { margin-top: 1rem; padding: 1rem; border: 1px solid var(--line); border-radius: .75rem; background: var(--sheet); }
  ul { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: .75rem; padding: 0; }
  li { display: flex; gap: .75rem; align-items: center; margin: 0; padding: .625rem .75rem; }
  li span { flex: none; width: 2.5rem; border-radius: 50%; background: oklch(52% .12 var(--hue)); color: #fff; font-size: 1.125rem; line-height: 2.5rem; text-align: center; }
  li bdi { flex: 1; min-width: 0; font-weight: 600; line-height: 1.25; text-align: left; overflow-wrap: anywhere; }
  input, button { padding: .5rem .75rem; border: 1px solid var(--soft); border-radius: .5rem; background: none; color: inherit; font: inherit; }
  label { display: block; margin-bottom: .25rem; }
  a { color: inherit; }
  em, li button { padding: .25rem .5rem; border-color: var(--line); font-style: normal; }
  li button, .trouble { color: var(--bad); }
  .trouble { border-color: var(--bad); }
  li:has(em), section button { border-color: var(--accent); }
  section button { background: var(--accent); color: var(--sheet); font-weight: 600; }
</style>

<h1>In the office <span id="count"></span></h1>
<?php if ($trouble !== '') : ?>
<section class="trouble" role="alert"><?= e($trouble) ?></section>
<?php endif; if ($me === null) : ?>
<section>
  <form method="post"><?= $csrf ?>
    <label for="name">What is your name?</label>
    <input id="name" name="name" maxlength="30" required autofocus> <button>Come in</button>
  </form>
</section>
<?php elseif ($here !== null) : ?>
<main>
  <p id="state" class="soft">Not connected to <?= e($public) ?> yet.</p>
  <p id="news" role="status"></p>
  <ul></ul>
</main>
<section id="out" class="trouble" role="alert" hidden><b>You were thrown out.</b> <a href="online.php">Come in again</a></section>
<section id="asked" class="soft">
  <b>As PHP saw it when this page was made</b>, before this tab connected · <a href="online.php">ask again</a><br>
  Users here: <?= $here['users'] ?> · connections: <?= $here['connections'] ?>, yours: <?= $tabs ?> ·
  rooms in use: <?= count($rooms) ?><br>
  <?php foreach ($members as $i => $member) : ?>
    <?= $i > 0 ? '·' : '' ?> <bdi><?= e($member['info']['name'] ?? $member['user']) ?></bdi> (<?= $member['connections'] ?: 'just left' ?>)
  <?php endforeach ?>
</section>
<template>
  <li><span aria-hidden="true"></span><bdi></bdi><em>you</em>
    <form method="post"><?= $csrf ?><input type="hidden" name="user"><button>Throw out</button></form></li>
</template>
<script nonce="<?= $nonce ?>" src="<?= e($public) ?>/client.js"></script>
<script nonce="<?= $nonce ?>">
  const find = (selector, inside = document) => inside.querySelector(selector);
  const room = postroom(<?= json_encode("$public/ws?room=" . ROOM, JSON_HEX_TAG) ?>, {
    token: async () => {
      const answer = await fetch('?token');
      if (!answer.ok) throw new Error(await answer.text());
      return answer.text();
    },
  });
  const members = room.members(<?= json_encode(ROOM) ?>);
  members.onjoined = ({ info }) => tell(`${info.name} came`);
  members.onleft = ({ info }) => tell(`${info.name} left`);
  members.onchange = () => {
    find('#count').textContent = members.count ?? '';
    find('ul').replaceChildren(...(members.list ?? []).map(card));
  };
  room.onstate = state => {
    find('#state').className = `soft ${state}`;
    find('#state').textContent = state === 'open' ? 'Live' : 'The connection is lost. It comes back by itself.';
  };
  room.on('thrown-out', ({ by }) => { find('#out b').textContent = `${by} threw you out.`; });
  room.onerror = ({ code, message }) => {
    find('#state').textContent = message;
    if (code !== 4503) return;   // removed by the backend
    find('#count').textContent = '';
    find('main').hidden = find('#asked').hidden = true;
    find('#out').hidden = false;
  };

  function tell(text) {
    const line = document.createElement('span');   // a new one, so that it fades from the start
    line.textContent = text;
    find('#news').replaceChildren(line);
  }

  function card({ user, info }) {
    const item = find('template').content.firstElementChild.cloneNode(true);
    find('span', item).textContent = [...info.name][0].toUpperCase();
    find('span', item).style.setProperty('--hue', info.hue);
    find('bdi', item).textContent = info.name;
    find('[name=user]', item).value = user;
    find('form', item).onsubmit = () => { find('button', item).disabled = true; };
    find(user === <?= json_encode($me['user']) ?> ? 'form' : 'em', item).remove();
    return item;
  }
</script>
<?php endif ?>
