<?php
/**
 * A login by a PHP session. Your application has its own, with passwords: here a name is enough.
 */
declare(strict_types=1);

session_start(['cookie_httponly' => true, 'cookie_samesite' => 'Lax', 'use_strict_mode' => true]);
$name = $_POST['name'] ?? '';
if (is_string($name) && preg_match('/^[^\p{C}\s][^\p{C}]{0,29}$/Du', $name) === 1) {
    session_regenerate_id(true);
    $_SESSION['user'] = $name;
    header('Location: ' . (isset($_POST['shop']) ? 'cart.php' : 'chat/'), true, 303);
    exit;
}
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Come in</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="site.css">
<main class="small">
  <h1>Come in</h1>
  <form method="post" class="card">
    <label for="name">What is your name?</label>
    <input id="name" name="name" maxlength="30" required autofocus autocomplete="off">
    <p class="row"><button name="chat">To the chat</button> <button name="shop" class="plain">To the shop</button></p>
  </form>
</main>
