<?php
/**
 * Puts one notification into Postroom's queue in RabbitMQ: php rabbitmq.php [room] [text]
 * Needs php-amqplib 3.2 or newer. It waits there until Postroom has taken it.
 */
declare(strict_types=1);

use PhpAmqpLib\Connection\AMQPConnectionConfig;
use PhpAmqpLib\Connection\AMQPConnectionFactory;
use PhpAmqpLib\Message\AMQPMessage;

$url = getenv('RABBITMQ_URL') ?: 'amqp://guest:guest@127.0.0.1:5672';
$queue = getenv('RABBITMQ_QUEUE') ?: 'postroom';

try {
    $body = json_encode([
        'room' => $argv[1] ?? 'public.orders',
        'event' => 'order.paid',
        'data' => $argv[2] ?? ['order' => 42, 'total' => '19.90'],
    ], JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE);

    $channel = channel($url);   // in a worker: open it once, publish many, and wait for all of them together
    $channel->confirm_select();
    $channel->set_nack_handler(function () use (&$fault) {
        $fault = 'RabbitMQ did not take it; is the queue full?';
    });
    $channel->set_return_listener(function () use (&$fault, $queue) {
        $fault = "there is no queue $queue; Postroom makes it when it is started with RABBITMQ_URL";
    });
    $message = new AMQPMessage($body, [
        'content_type' => 'application/json',
        'delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT,
        // The idempotency key. The same when you try again; better still one that the event itself has: order-42-paid.
        'message_id' => bin2hex(random_bytes(16)),
    ]);
    // By the default exchange, to the queue of this name, which is Postroom's to declare. Mandatory: else back to us.
    $channel->basic_publish($message, '', $queue, true);
    $channel->wait_for_pending_acks_returns(3);
    if ($fault !== null) {
        throw new RuntimeException($fault);
    }
    echo "{$message->get('message_id')} is in the queue $queue\n";
} catch (Throwable $error) {
    fwrite(STDERR, "Not sent: {$error->getMessage()}\n");
    exit(1);
}

function channel(string $url): PhpAmqpLib\Channel\AMQPChannel
{
    foreach ([__DIR__ . '/vendor', dirname(__DIR__) . '/vendor', '/usr/share/php/PhpAmqpLib'] as $folder) {
        if (!class_exists(AMQPConnectionFactory::class) && is_file("$folder/autoload.php")) {
            require "$folder/autoload.php";
        }
    }
    if (!class_exists(AMQPConnectionFactory::class)) {
        throw new RuntimeException('composer require php-amqplib/php-amqplib');
    }
    $at = parse_url($url);
    $config = new AMQPConnectionConfig();
    $config->setIsSecure($at['scheme'] === 'amqps');
    $config->setHost($at['host']);
    $config->setPort($at['port'] ?? ($config->isSecure() ? 5671 : 5672));
    $config->setUser(rawurldecode($at['user'] ?? 'guest'));
    $config->setPassword(rawurldecode($at['pass'] ?? 'guest'));
    $config->setVhost(rawurldecode(substr($at['path'] ?? '', 1)) ?: '/');
    $config->setChannelRPCTimeout(3.0);   // as connecting, reading and writing have by themselves
    return AMQPConnectionFactory::create($config)->channel();
}
