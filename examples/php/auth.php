<?php
/**
 * Postroom asks here who a browser is, and passes on its cookies: AUTH_URL=http://127.0.0.1:8000/auth.php
 * So the session of login.php opens the WebSocket. The page needs no token.
 */
declare(strict_types=1);

session_start();   // Postroom asks again while a tab is open: that keeps the session alive
if (!isset($_SESSION['user'])) {
    http_response_code(401);   // or 204: a visitor, who may join the public rooms
    exit;
}
header('Content-Type: application/json');
echo json_encode([
    'sub' => $_SESSION['user'],
    'rooms' => ['chat'],                   // what the browser may hear
    'publish' => ['chat', 'inbox.chat'],   // where it may speak
], JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE);
