<?php

/** Answers a call, if its signature is right (Standard Webhooks). */

declare(strict_types=1);

const TOLERANCE_SECONDS = 300;

$body = file_get_contents('php://input');
$id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
$timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
$key = base64_decode(substr(getenv('WEBHOOK_SECRET'), strlen('whsec_')));
$signature = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));

if (
    abs(time() - (int) $timestamp) > TOLERANCE_SECONDS
    || !hash_equals($signature, $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '')
) {
    http_response_code(401);
    exit;
}

$call = json_decode($body, true, flags: JSON_THROW_ON_ERROR);
$answer = json_encode(['ok' => $call['event'] === 'ping']);

header('Content-Type: application/json');
header('Content-Length: ' . strlen($answer));
echo $answer;
