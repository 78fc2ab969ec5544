<?php
/**
 * Produces one notification to Postroom's topic in Kafka: php kafka.php [room] [text]
 * Needs ext-rdkafka. It waits there until Postroom has taken it.
 */
declare(strict_types=1);

$brokers = getenv('KAFKA_BROKERS') ?: '127.0.0.1:9092';
$topic = getenv('KAFKA_TOPIC') ?: 'postroom';
$room = $argv[1] ?? 'public.orders';

try {
    if (!class_exists(RdKafka\Producer::class)) {
        throw new RuntimeException('install ext-rdkafka (pecl install rdkafka)');
    }
    $body = json_encode([
        'room' => $room,
        'event' => 'order.paid',
        'data' => $argv[2] ?? ['order' => 42, 'total' => '19.90'],
        // The same when you try again, so that it is sent once. Better still one that the event itself has: order-42-paid.
        'key' => bin2hex(random_bytes(16)),
    ], JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE);

    $fault = null;
    $report = null;
    $conf = new RdKafka\Conf();
    $conf->set('bootstrap.servers', $brokers);
    $conf->set('enable.idempotence', 'true');   // the library's own tries neither double nor reorder
    $conf->set('message.timeout.ms', '4000');
    $conf->set('log_level', '0');   // what goes wrong comes by the callback
    $conf->setErrorCb(function ($producer, int $code, string $reason) use (&$fault) {
        $fault = $fault ?? $reason;
    });
    $conf->setDrMsgCb(function ($producer, RdKafka\Message $message) use (&$report) {
        $report = $message;
    });

    $producer = new RdKafka\Producer($conf);   // in a worker: make it once, and poll(0) after each produce()
    // The Kafka key decides the partition: what is for one room keeps its order.
    $producer->newTopic($topic)->produce(RD_KAFKA_PARTITION_UA, 0, $body, $room);
    // PHP must not end before the broker has it.
    $producer->flush(5000);
    if ($report === null || $report->err !== RD_KAFKA_RESP_ERR_NO_ERROR) {
        throw new RuntimeException($fault ?? ($report === null ? "no report from $brokers" : $report->errstr()));
    }
    echo "in the topic $topic, partition {$report->partition}, offset {$report->offset}\n";
} catch (Throwable $error) {
    fwrite(STDERR, "Not sent: {$error->getMessage()}\n");
    exit(1);
}
