<?php
/**
 * Stands in for ext-rdkafka, which is in no package of Debian's: those of its classes that a producer needs, with its
 * signatures, on the same librdkafka by way of FFI. Loaded before a script: php -d auto_prepend_file=….
 *
 * It shows that a script's settings are ones that librdkafka takes, that what it produces reaches a real Kafka and is
 * reported back, and what the script says when that fails. It does not show that the extension has these very
 * signatures (they are copied from its documentation), nor how it behaves in memory, threads or at the end of a process.
 */
declare(strict_types=1);

namespace {
    if (extension_loaded('rdkafka')) {
        return;
    }

    const RD_KAFKA_PARTITION_UA = -1;
    const RD_KAFKA_RESP_ERR_NO_ERROR = 0;

    function rd_kafka_err2str(int $err): string
    {
        return RdKafka\library()->rd_kafka_err2str($err);
    }

    abstract class RdKafka
    {
        protected FFI\CData $handle;
        /** Called from C for as long as the handle lives. */
        protected RdKafka\Conf $conf;

        public function newTopic(string $topic_name, ?RdKafka\TopicConf $topic_conf = null): RdKafka\Topic
        {
            $topic = RdKafka\library()->rd_kafka_topic_new($this->handle, $topic_name, null);
            return new RdKafka\ProducerTopic($this, $topic);
        }

        public function getOutQLen(): int
        {
            return RdKafka\library()->rd_kafka_outq_len($this->handle);
        }

        public function poll(int $timeout_ms): int
        {
            return RdKafka\library()->rd_kafka_poll($this->handle, $timeout_ms);
        }

        public function flush(int $timeout_ms): int
        {
            return RdKafka\library()->rd_kafka_flush($this->handle, $timeout_ms);
        }
    }
}

namespace RdKafka {
    use FFI;

    function library(): FFI
    {
        static $library;
        return $library ??= FFI::cdef(
            'typedef struct {
                int err; void *rkt; int32_t partition; void *payload; size_t len; void *key; size_t key_len;
                int64_t offset; void *_private;
            } rd_kafka_message_t;
            void *rd_kafka_conf_new(void);
            void *rd_kafka_conf_dup(const void *conf);
            int rd_kafka_conf_set(void *conf, const char *name, const char *value, char *errstr, size_t size);
            void rd_kafka_conf_set_error_cb(void *conf, void (*cb)(void *rk, int err, const char *reason, void *opaque));
            void rd_kafka_conf_set_dr_msg_cb(void *conf, void (*cb)(void *rk, const rd_kafka_message_t *m, void *opaque));
            void *rd_kafka_new(int type, void *conf, char *errstr, size_t size);
            void *rd_kafka_topic_new(void *rk, const char *topic, void *conf);
            const char *rd_kafka_topic_name(const void *topic);
            void rd_kafka_topic_destroy(void *topic);
            int rd_kafka_produce(void *topic, int32_t partition, int flags, void *payload, size_t len,
                const void *key, size_t key_len, void *opaque);
            int rd_kafka_last_error(void);
            const char *rd_kafka_err2str(int err);
            int rd_kafka_outq_len(void *rk);
            int rd_kafka_poll(void *rk, int timeout_ms);
            int rd_kafka_flush(void *rk, int timeout_ms);
            void rd_kafka_destroy(void *rk);',
            'librdkafka.so.1'
        );
    }

    class Exception extends \Exception
    {
    }

    class Conf
    {
        /** Read by Producer. */
        public FFI\CData $handle;
        /** @var array<string, callable> */
        public array $callbacks = [];

        public function __construct()
        {
            $this->handle = library()->rd_kafka_conf_new();
        }

        public function set(string $name, string $value): void
        {
            $reason = library()->new('char[512]');
            $result = library()->rd_kafka_conf_set($this->handle, $name, $value, $reason, 512);
            if ($result !== 0) {
                throw new Exception(FFI::string($reason), $result);
            }
        }

        public function setErrorCb(callable $callback): void
        {
            $this->callbacks['error'] = $callback;
        }

        public function setDrMsgCb(callable $callback): void
        {
            $this->callbacks['delivery'] = $callback;
        }
    }

    class Message
    {
        public int $err;
        public ?string $topic_name = null;
        public int $partition;
        public ?string $payload = null;
        public ?int $len = null;
        public ?string $key = null;
        public int $offset;

        public function errstr(): ?string
        {
            return library()->rd_kafka_err2str($this->err);
        }
    }

    class Producer extends \RdKafka
    {
        public function __construct(?Conf $conf = null)
        {
            $this->conf = $conf ?? new Conf();
            $settings = library()->rd_kafka_conf_dup($this->conf->handle);
            // Both are called in this thread, by poll() and flush().
            if (isset($this->conf->callbacks['error'])) {
                library()->rd_kafka_conf_set_error_cb($settings, function ($rk, $err, $reason, $opaque) {
                    ($this->conf->callbacks['error'])($this, $err, $reason);
                });
            }
            if (isset($this->conf->callbacks['delivery'])) {
                library()->rd_kafka_conf_set_dr_msg_cb($settings, function ($rk, $message, $opaque) {
                    ($this->conf->callbacks['delivery'])($this, self::report($message));
                });
            }
            $reason = library()->new('char[512]');
            $handle = library()->rd_kafka_new(0, $settings, $reason, 512);
            if ($handle === null) {
                throw new Exception(FFI::string($reason));
            }
            $this->handle = $handle;
        }

        public function __destruct()
        {
            library()->rd_kafka_destroy($this->handle);
        }

        private static function report(FFI\CData $from): Message
        {
            $message = new Message();
            $message->err = $from->err;
            $message->topic_name = library()->rd_kafka_topic_name($from->rkt);
            $message->partition = $from->partition;
            $message->payload = $from->payload === null ? null : FFI::string($from->payload, $from->len);
            $message->len = $from->len;
            $message->key = $from->key === null ? null : FFI::string($from->key, $from->key_len);
            $message->offset = $from->offset;
            return $message;
        }
    }

    abstract class Topic
    {
        /** The extension's constructor is nobody's to call; it, too, keeps the producer alive. */
        public function __construct(protected \RdKafka $producer, protected FFI\CData $handle)
        {
        }

        public function __destruct()
        {
            library()->rd_kafka_topic_destroy($this->handle);
        }

        public function getName(): string
        {
            return library()->rd_kafka_topic_name($this->handle);
        }
    }

    class ProducerTopic extends Topic
    {
        private const COPY = 2;

        public function produce(
            int $partition,
            int $msgflags,
            ?string $payload = null,
            ?string $key = null,
            ?string $msg_opaque = null
        ): void {
            $body = bytes($payload);
            $result = library()->rd_kafka_produce(
                $this->handle,
                $partition,
                $msgflags | self::COPY,
                $body,
                strlen($payload ?? ''),
                $key,
                strlen($key ?? ''),
                null
            );
            if ($result === -1) {
                $code = library()->rd_kafka_last_error();
                throw new Exception(rd_kafka_err2str($code), $code);
            }
        }
    }

    function bytes(?string $text): ?FFI\CData
    {
        if ($text === null || $text === '') {
            return null;
        }
        $bytes = library()->new('char[' . strlen($text) . ']');
        FFI::memcpy($bytes, $text, strlen($text));
        return $bytes;
    }
}
