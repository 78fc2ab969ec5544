<?php
/**
 * A shop whose cart is filled over the WebSocket. A browser calls, and PHP answers: CALL_URL=http://127.0.0.1:8000/cart.php
 */
declare(strict_types=1);

require_once __DIR__ . '/../../clients/php/Postroom.php';

const PRICES = ['Tea' => 450, 'Coffee' => 690, 'Honey' => 820];   // in cents

$database = new PDO('sqlite:' . getenv('DATABASE'), null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$database->exec('CREATE TABLE IF NOT EXISTS carts (user TEXT, item TEXT, count INTEGER, PRIMARY KEY (user, item))');

if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $postroom = new Postroom(getenv('POSTROOM_URL'), getenv('POSTROOM_KEY'), [
        'webhookSecret' => getenv('WEBHOOK_SECRET'),
        'onError' => 'log',
    ]);
    try {
        $call = $postroom->verifyWebhook(file_get_contents('php://input'), getallheaders());
    } catch (PostroomException $error) {
        http_response_code(401);
        exit($error->getDetail());
    }
    if ($call['event'] !== 'cart.add') {
        http_response_code(404);   // the browser gets the error call_failed
        exit;
    }
    header('Content-Type: application/json');
    echo json_encode(added($call, $database, $postroom), JSON_THROW_ON_ERROR);
    exit;
}

/** What the browser gets as the result. `user` is who its session says it is; null is a visitor. */
function added(array $call, PDO $database, Postroom $postroom): array
{
    $item = $call['data']['item'] ?? null;
    if ($call['user'] === null) {
        return ['error' => 'Log in first.'];
    }
    if (!is_string($item) || !isset(PRICES[$item])) {
        return ['error' => 'We do not have this.'];
    }
    $database->prepare('INSERT INTO carts VALUES (?, ?, 1) ON CONFLICT (user, item) DO UPDATE SET count = count + 1')
        ->execute([$call['user'], $item]);
    $cart = cart($database, $call['user']);
    // The other tabs of this user show it too.
    $postroom->toUser($call['user'], 'cart', $cart, ['except' => $call['connection'], 'ttl' => 0]);

    return $cart;
}

function cart(PDO $database, string $user): array
{
    $select = $database->prepare('SELECT item, count FROM carts WHERE user = ? ORDER BY rowid');
    $select->execute([$user]);
    $items = $select->fetchAll(PDO::FETCH_KEY_PAIR);
    $total = 0;
    foreach ($items as $item => $count) {
        $total += PRICES[$item] * $count;
    }

    return ['items' => (object) $items, 'total' => $total];
}

session_start(['read_and_close' => true]);
$me = $_SESSION['user'] ?? null;
if ($me === null) {
    header('Location: login.php');
    exit;
}
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Shop</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="site.css">
<main>
  <h1>Shop <small id="state" class="connecting">connecting</small></h1>
  <ul class="goods">
    <?php foreach (PRICES as $item => $cents) : ?>
    <li class="card"><b><?= $item ?></b> <span><?= number_format($cents / 100, 2) ?> €</span> <button value="<?= $item ?>">Add</button></li>
    <?php endforeach ?>
  </ul>
  <section class="card">
    <h2>Cart of <?= htmlspecialchars($me) ?></h2>
    <ul id="cart"></ul>
    <p class="total">Total <output id="total"></output></p>
  </section>
  <p id="note" role="status"></p>
</main>
<script type="application/json" id="page"><?= json_encode(cart($database, $me), JSON_THROW_ON_ERROR | JSON_HEX_TAG) ?></script>
<script src="client.js"></script>
<script src="cart.js"></script>
