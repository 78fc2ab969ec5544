<?php

declare(strict_types=1);

/**
 * Posts notifications to a Postroom server, asks it who is there, signs the tokens that its browsers need, and
 * checks the webhooks and calls that it sends to PHP.
 *
 *     $postroom = new Postroom('http://127.0.0.1:8080', $key);
 *     $postroom->toRoom('orders', 'order.paid', ['order' => 42]);
 *     $postroom->isOnline(42);
 *
 * PHP 7.4 or newer with ext-curl and ext-json; nothing else. Keep one object for a request or a worker: it
 * keeps its connection open between calls.
 *
 * A call that sends returns when the notification is in the server's journal. Failures that may pass (no
 * connection, a timeout, 408, 429, 5xx) are tried again, within `budgetMs` in all. Every notification carries a
 * random idempotency key where you give none, so a second try never sends it twice. With the option `wait` of a
 * notification, the seconds of `wait` come on top of `timeoutMs` and `budgetMs`.
 *
 * Answers about who is there are of the whole installation. If a node did not tell in time, they lack what is
 * there, and carry `'partial' => true`.
 */
class Postroom
{
    public const VERSION = '0.1.0';

    /** All options, with their defaults. Times are in milliseconds. */
    private const DEFAULTS = [
        'connectTimeoutMs' => 300, // for opening the connection
        'timeoutMs' => 1000,       // for one try, connecting included
        'budgetMs' => 2000,        // for a call, with all its tries and the waits between them
        'retries' => 2,            // tries after the first one
        'backoffMs' => 50,         // before the second try, doubled for each further one, less a random part
        'restMs' => 1000,          // after a failed call: so long, further calls fail at once; 0: never
        'socket' => null,          // path of a Unix socket to connect to, instead of the URL's host
        'jwtSecret' => null,       // the server's JWT_SECRET, for token()
        'webhookSecret' => null,   // the server's WEBHOOK_SECRET, for verifyWebhook()
        'onError' => 'throw',      // or 'log' (error_log), or a callable that gets the PostroomException
        'curl' => [],              // further CURLOPT_… => value, for a CA file, say
    ];

    private const JSON = JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES
        | JSON_PRESERVE_ZERO_FRACTION;
    private const LISTS = ['rooms', 'users', 'connections', 'except'];
    /** The most that the server takes in one request. */
    private const MAX_USERS = 1000;
    private const MAX_PAGE = 1000;
    private const MAX_WAIT_SECONDS = 30;
    private const MAX_INFO_BYTES = 1024;
    private const MAX_BACKOFF_MS = 2000;
    private const MAX_RETRY_AFTER_SECONDS = 86400;
    private const MIN_SECRET_BYTES = 32;
    private const MIN_WEBHOOK_SECRET_BYTES = 24;
    /** The server's MAX_TOKEN_SECONDS, if nobody changed it: 366 days. */
    private const MAX_TTL_SECONDS = 366 * 24 * 60 * 60;

    private string $url;
    /** Where the server is, as messages name it. */
    private string $place;
    private ?string $key = null;
    private array $options;
    /** @var resource|\CurlHandle|null one for all calls: it keeps the connection */
    private $curl = null;
    /** The process that made the handle; a forked child must not write to its parent's connection. */
    private int $pid = 0;
    /** Milliseconds on the clock of now(): until then, calls fail with $lastFailure. */
    private int $restUntil = 0;
    private ?PostroomException $lastFailure = null;

    /**
     * Connects to nothing yet.
     *
     * @param string      $url     `http://host:port`, `https://…`, or `unix:/path/of/a.sock`
     * @param string|null $key     one of the server's NOTIFY_KEYS; null or '' for a socket that needs none
     * @param array       $options see DEFAULTS, or the README beside this file
     *
     * @throws InvalidArgumentException for a URL, key or option that cannot work
     */
    public function __construct(
        #[\SensitiveParameter] // kept out of stack traces, from PHP 8.2; a comment to those before 8.0
        string $url,
        #[\SensitiveParameter]
        ?string $key = null,
        #[\SensitiveParameter]
        array $options = []
    ) {
        if (preg_match('~^unix:(?://)?(/.+)$~D', $url, $match) === 1) {
            $options['socket'] = $match[1];
            $url = 'http://localhost';
        }
        $this->options = self::checkedOptions($options);
        $this->url = self::checkedUrl($url);
        $socket = $this->options['socket'];
        $this->place = $socket === null ? $this->url : "unix:$socket";
        $key = trim((string) $key);
        if (preg_match('/[^\x21-\x7e]/', $key) === 1) {
            throw new InvalidArgumentException('Postroom: the key has characters that no HTTP header can carry.');
        }
        $this->key = $key === '' ? null : $key;
    }

    /**
     * Sends to all who joined a room.
     *
     * @param string|string[] $room    a name, or a list of names
     * @param mixed           $data    whatever json_encode() takes
     * @param array           $options further fields of the notification: `except` (the connection that
     *                                 caused it), `key`, `ttl`, also `user` and other addresses; `ack` (seconds
     *                                 in which it should be acknowledged), `wait` (seconds that this call waits
     *                                 for that), `at` (a DateTimeInterface, seconds since the epoch, or text in
     *                                 RFC 3339) or `delay` (seconds from now), `collapse` (a name)
     *
     * @return array{id: string, connections: int, duplicate: bool, acknowledged?: int, partial?: true}|
     *         array{scheduled: string, at: string, duplicate: bool}|null `acknowledged` with `wait`; the second form
     *                                                                    if it is sent later; null only with
     *                                                                    `onError`
     * @throws PostroomException when it was not accepted, or cannot be encoded
     */
    public function toRoom($room, string $event, $data = null, array $options = []): ?array
    {
        return $this->sendTo(is_array($room) ? 'rooms' : 'room', $room, $event, $data, $options);
    }

    /**
     * Sends to all connections of a user, which is the `sub` of their tokens. Otherwise as toRoom().
     *
     * @param string|int|array<string|int> $user an id, or a list of ids
     *
     * @return array|null
     * @throws PostroomException
     */
    public function toUser($user, string $event, $data = null, array $options = []): ?array
    {
        // As strings, integers beyond 2^53 are exact too.
        $asText = static fn ($id) => is_int($id) ? (string) $id : $id;
        $user = is_array($user) ? array_map($asText, $user) : $asText($user);

        return $this->sendTo(is_array($user) ? 'users' : 'user', $user, $event, $data, $options);
    }

    /**
     * Sends to one connection, by the id that its `welcome` frame told it. Otherwise as toRoom().
     *
     * @param string|string[] $connection an id, or a list of ids
     *
     * @return array|null
     * @throws PostroomException
     */
    public function toConnection($connection, string $event, $data = null, array $options = []): ?array
    {
        $field = is_array($connection) ? 'connections' : 'connection';

        return $this->sendTo($field, $connection, $event, $data, $options);
    }

    /**
     * Sends to every open connection. Otherwise as toRoom().
     *
     * @return array|null
     * @throws PostroomException
     */
    public function toEveryone(string $event, $data = null, array $options = []): ?array
    {
        return $this->sendTo('everyone', true, $event, $data, $options);
    }

    /**
     * Sends one notification, given with the fields of `POST /notify`. Fields that are null are left out,
     * except for `data`. Otherwise as toRoom().
     *
     * @return array{id: string, connections: int, duplicate: bool, acknowledged?: int, partial?: true}|
     *         array{scheduled: string, at: string, duplicate: bool}|null
     * @throws PostroomException when it was not accepted, or cannot be encoded
     */
    public function send(array $notification): ?array
    {
        try {
            if (isset($notification[0])) {
                throw self::misuse('send() takes one notification; give a list of them to batch().');
            }
            $fields = self::fieldsOf($notification);
            $answer = $this->request('POST', '/notify', self::encode($fields), null, self::waitOf($fields));
            if (!isset($answer['id']) && !isset($answer['scheduled'])) {
                throw $this->unexpected(200);
            }

            return $answer;
        } catch (PostroomException $error) {
            $event = $notification['event'] ?? null;

            return $this->report($error, (is_string($event) ? $event : 'a notification') . ' was not sent');
        }
    }

    /**
     * Sends up to 1,000 notifications in one request, in order. Each stands on its own: one that the server
     * refused has `['error' => ['code' => …, 'status' => …, 'detail' => …]]` in its place, the others are sent.
     *
     * @param array<array> $notifications as for send()
     *
     * @return array<array>|null results under the keys, and in the order, of the notifications; null only
     *                           with `onError`
     * @throws PostroomException when the batch as a whole was not accepted; also, before anything is sent,
     *                           when one of them cannot be encoded
     */
    public function batch(array $notifications): ?array
    {
        try {
            $items = [];
            foreach (array_values($notifications) as $index => $notification) {
                if (!is_array($notification)) {
                    throw self::misuse("batch() takes a list of notifications; [$index] is no array.");
                }
                $items[] = self::fieldsOf($notification);
            }
            if ($items === []) {
                return [];
            }
            $results = $this->request('POST', '/notify', self::encode($items))['results'] ?? null;
            if (!is_array($results) || count($results) !== count($items)) {
                throw $this->unexpected(200);
            }

            return array_combine(array_keys($notifications), $results);
        } catch (PostroomException $error) {
            return $this->report($error, 'a batch of ' . count($notifications) . ' was not sent');
        }
    }

    /**
     * The rooms that somebody is in, by name. Asks for them page by page, while you walk; each page is a call
     * with its own `budgetMs`, and throws when it fails.
     *
     *     foreach ($postroom->rooms('orders.') as $room) { … }
     *
     * After the last room, the generator's getReturn() is true where rooms may be missing: a node did not tell
     * in time or, with `onError`, a page failed.
     *
     * @param string $prefix what the names begin with; '' is any
     *
     * @return Generator<int, array{room: string, connections: int, users: int}>
     */
    public function rooms(string $prefix = ''): Generator
    {
        return $this->walk('rooms', fn (?string $after) => $this->roomsPage($prefix, $after, self::MAX_PAGE));
    }

    /**
     * One page of rooms().
     *
     * @param string|null $after `next` of the page before; null is the first page
     * @param int         $limit rooms of a page, 1 to 1,000
     *
     * @return array{rooms: array<array{room: string, connections: int, users: int}>, next: ?string,
     *               partial?: true}|null `next` is null on the last page; null only with `onError`
     * @throws PostroomException
     */
    public function roomsPage(string $prefix = '', ?string $after = null, int $limit = 100): ?array
    {
        return $this->page('rooms', '/rooms', [], ['prefix' => $prefix === '' ? null : $prefix], $after, $limit);
    }

    /**
     * How many are in a room; 0 where nobody is. `newest` is the id of its newest notification, or null.
     *
     * @return array{room: string, connections: int, users: int, newest: ?string, partial?: true}|null null only
     *                                                                                     with `onError`
     * @throws PostroomException
     */
    public function room(string $room): ?array
    {
        return $this->control('GET', '/rooms/{room}', ['room' => $room], 'connections');
    }

    /**
     * The users in a room, each once, with the `info` of their token. Otherwise as rooms(), also the generator.
     *
     * @return Generator<int, array{user: string, info: ?array, connections: int}>
     */
    public function members(string $room): Generator
    {
        return $this->walk('members', fn (?string $after) => $this->membersPage($room, $after, self::MAX_PAGE));
    }

    /**
     * One page of members(). Otherwise as roomsPage().
     *
     * @return array{members: array<array{user: string, info: ?array, connections: int}>, next: ?string,
     *               partial?: true}|null
     * @throws PostroomException
     */
    public function membersPage(string $room, ?string $after = null, int $limit = 100): ?array
    {
        return $this->page('members', '/rooms/{room}/members', ['room' => $room], [], $after, $limit);
    }

    /**
     * How many connections a user has, and the rooms that they are in.
     *
     * @param string|int $user
     *
     * @return array{user: string, connections: int, rooms: string[], partial?: true}|null null only with `onError`
     * @throws PostroomException
     */
    public function user($user): ?array
    {
        return $this->control('GET', '/users/{user}', ['user' => $user], 'connections');
    }

    /**
     * Whether a user has a connection. Where that is not known, it is false: a node did not tell in time (user()
     * says so) or, with `onError`, the call failed.
     *
     * @param string|int $user
     *
     * @throws PostroomException
     */
    public function isOnline($user): bool
    {
        return ($this->user($user)['connections'] ?? 0) > 0;
    }

    /**
     * How many connections each of many users has. Asks for 1,000 at a time, all of them within one `budgetMs`.
     *
     * PHP turns the key '42' of an array into the integer 42. So `$online['42']` and `$online[42]` are the same,
     * but a foreach gives integers. For a browser, encode it as `(object) $online`: users 0, 1, 2, … would
     * otherwise be a JSON list.
     *
     * @param array<string|int> $users
     *
     * @return array{online: array<string|int, int>, partial?: true}|null counts under the users; null only with
     *                                                                    `onError`
     * @throws PostroomException
     */
    public function online(array $users): ?array
    {
        try {
            $deadline = $this->deadline();
            $names = [];
            foreach ($users as $user) {
                $names[] = self::checkedName('each of the users', $user);
            }
            $online = [];
            $isPartial = false;
            foreach (array_chunk($names, self::MAX_USERS) as $chunk) {
                $answer = $this->request('POST', '/users/online', self::encode(['users' => $chunk]), $deadline);
                if (!is_array($answer['online'] ?? null)) {
                    throw $this->unexpected(200);
                }
                // array_merge() would count integer keys anew.
                $online += $answer['online'];
                $isPartial = $isPartial || !empty($answer['partial']);
            }

            return ['online' => $online] + ($isPartial ? ['partial' => true] : []);
        } catch (PostroomException $error) {
            return $this->report($error, 'POST /users/online failed');
        }
    }

    /**
     * All open connections, or those in a room, of a user, or both. Otherwise as rooms(), also the generator.
     *
     * @param array{room?: ?string, user?: string|int|null} $filter one that is null does not filter
     *
     * @return Generator<int, array{connection: string, user: ?string, rooms: string[], protocol: string,
     *                              address: string, userAgent: ?string, openedAt: string, state: string,
     *                              waitingBytes: int, node: string}> `state` is 'live', or 'reading' while it
     *                                                                is told what it missed
     */
    public function connections(array $filter = []): Generator
    {
        return $this->walk(
            'connections',
            fn (?string $after) => $this->connectionsPage($filter, $after, self::MAX_PAGE)
        );
    }

    /**
     * One page of connections(). Otherwise as roomsPage().
     *
     * @param array{room?: ?string, user?: string|int|null} $filter
     *
     * @return array{connections: array<array>, next: ?string, partial?: true}|null
     * @throws PostroomException
     */
    public function connectionsPage(array $filter = [], ?string $after = null, int $limit = 100): ?array
    {
        $unknown = array_keys(array_diff_key($filter, ['room' => null, 'user' => null]));
        if ($unknown !== []) {
            $detail = 'Connections have no filter ' . implode(', ', $unknown) . '; there are room and user.';

            return $this->report(self::misuse($detail, 'invalid_request'), 'GET /connections failed');
        }

        return $this->page('connections', '/connections', [], $filter, $after, $limit);
    }

    /**
     * One connection, with the fields that connections() gives; null if there is none with this id.
     *
     * @return array|null null also with `onError`
     * @throws PostroomException
     */
    public function connection(string $connection): ?array
    {
        $names = ['connection' => $connection];

        return $this->control('GET', '/connections/{connection}', $names, 'connection', ['unknown_connection' => null]);
    }

    /**
     * Lets all connections that a user has now join a room, whatever their tokens say. Connections that the user
     * opens later need a token for it.
     *
     * @param string|int $user
     *
     * @return array{connections: int, partial?: true}|null for how many; 0 is no failure; null only with `onError`
     * @throws PostroomException
     */
    public function join($user, string $room): ?array
    {
        $names = ['user' => $user, 'room' => $room];

        return $this->control('PUT', '/users/{user}/rooms/{room}', $names, 'connections');
    }

    /**
     * Lets all connections of a user leave a room. Otherwise as join(). A token that allows the room still does:
     * the browser may join again.
     *
     * @param string|int $user
     *
     * @return array{connections: int, partial?: true}|null
     * @throws PostroomException
     */
    public function leave($user, string $room): ?array
    {
        $names = ['user' => $user, 'room' => $room];

        return $this->control('DELETE', '/users/{user}/rooms/{room}', $names, 'connections');
    }

    /**
     * Lets one connection join a room. Otherwise as join(); `connections` is 0 if there is none with this id.
     *
     * @return array{connections: int, partial?: true}|null
     * @throws PostroomException
     */
    public function joinConnection(string $connection, string $room): ?array
    {
        return $this->moveConnection('PUT', $connection, $room);
    }

    /**
     * Lets one connection leave a room. Otherwise as leave(); `connections` is 0 if there is none with this id.
     *
     * @return array{connections: int, partial?: true}|null
     * @throws PostroomException
     */
    public function leaveConnection(string $connection, string $room): ?array
    {
        return $this->moveConnection('DELETE', $connection, $room);
    }

    /**
     * Closes one connection. Its browser does not come back by itself.
     *
     * @return array{removed: int, partial?: true}|null how many were closed: 0 if there was none, also if a first
     *                                                  try closed it and its answer was lost; null only with
     *                                                  `onError`
     * @throws PostroomException
     */
    public function removeConnection(string $connection): ?array
    {
        return $this->control('DELETE', '/connections/{connection}', ['connection' => $connection], 'removed');
    }

    /**
     * Closes all connections of a user. Otherwise as removeConnection(). Their tokens still hold, see revoke().
     *
     * @param string|int $user
     *
     * @return array{removed: int, partial?: true}|null
     * @throws PostroomException
     */
    public function removeUser($user): ?array
    {
        return $this->control('DELETE', '/users/{user}/connections', ['user' => $user], 'removed');
    }

    /**
     * Closes all connections that are in a room, with all their other rooms. Otherwise as removeConnection().
     *
     * @return array{removed: int, partial?: true}|null
     * @throws PostroomException
     */
    public function removeRoom(string $room): ?array
    {
        return $this->control('DELETE', '/rooms/{room}/connections', ['room' => $room], 'removed');
    }

    /**
     * Closes all connections of a user, and makes every token of theirs void that was issued before now. Tokens
     * that are issued later hold. Otherwise as removeConnection().
     *
     * @param string|int $user
     *
     * @return array{removed: int, partial?: true}|null
     * @throws PostroomException
     */
    public function revoke($user): ?array
    {
        return $this->control('POST', '/users/{user}/revoke', ['user' => $user], 'removed');
    }

    /**
     * The cursor now, for a page that is rendered with its state. Ask for it before you read that state, and let
     * the page connect with it as `since`: then it misses nothing.
     *
     * @return string|null null only with `onError`
     * @throws PostroomException
     */
    public function newest(): ?string
    {
        return $this->control('GET', '/newest', [], 'id')['id'] ?? null;
    }

    /**
     * What became of a notification, as long as the server retains it. `users` are those who were addressed by name,
     * `missed` who did not acknowledge it in time (null: nobody did).
     *
     * @param string          $id   as the answer to the sending had it
     * @param string|int|null $user why this user has it or not: `user` in the answer
     *
     * @return array{id: string, event: string, addresses: array, at: string, connections: int, acknowledged: int,
     *               users: array<array{user: string, connections: int, acknowledged: int}>,
     *               missed: array<array{user: ?string, at: string}>,
     *               user?: array{user: string, state: string, detail: string}, partial?: true}|null null if the server
     *                                                                  does not know it; also with `onError`
     * @throws PostroomException
     */
    public function status(string $id, $user = null): ?array
    {
        $route = '/notifications/{id}' . ($user === null ? '' : '?user={user}');
        $names = ['id' => $id] + ($user === null ? [] : ['user' => $user]);

        return $this->control('GET', $route, $names, 'id', ['not_found' => null]);
    }

    /**
     * Takes back a notification that was to be sent later.
     *
     * @param string $scheduleId `scheduled` in the answer to the sending
     *
     * @return bool false if it was sent already, or never was; also if a first try took it back and its answer was
     *              lost, and, with `onError`, if the call failed
     * @throws PostroomException
     */
    public function cancel(string $scheduleId): bool
    {
        $instead = ['not_found' => ['cancelled' => false]];
        $answer = $this->control('DELETE', '/notifications/{id}', ['id' => $scheduleId], 'cancelled', $instead);

        return $answer['cancelled'] ?? false;
    }

    /**
     * What waits to be sent later, the next one first. Otherwise as rooms(), also the generator.
     *
     * @return Generator<int, array{scheduled: string, at: string, notification: array}>
     */
    public function scheduled(): Generator
    {
        return $this->walk('scheduled', fn (?string $after) => $this->scheduledPage($after, self::MAX_PAGE));
    }

    /**
     * One page of scheduled(). Otherwise as roomsPage().
     *
     * @return array{scheduled: array<array{scheduled: string, at: string, notification: array}>, next: ?string,
     *               partial?: true}|null
     * @throws PostroomException
     */
    public function scheduledPage(?string $after = null, int $limit = 100): ?array
    {
        return $this->page('scheduled', '/notifications', [], ['scheduled' => 'true'], $after, $limit);
    }

    /**
     * A token (JWT, HS256) with which a browser opens its WebSocket. Needs the option `jwtSecret`.
     *
     * @param string|int|null   $userId     whom it stands for; null: nobody, it only opens rooms
     * @param string[]          $rooms      rooms that may be joined; `*` stands for any characters, also none
     * @param int               $ttlSeconds how long it holds, in seconds from now, not a time
     * @param array|object|null $info       what the members of a presence room see of the user, such as
     *                                      `['name' => 'Li']`: an object in JSON, of up to 1,024 bytes
     * @param string[]          $publish    rooms that the browser may publish into, as `rooms`
     *
     * @throws InvalidArgumentException for a secret under 32 bytes, or claims that no server takes; always
     *                                  thrown, whatever `onError` says
     */
    public function token(
        $userId,
        array $rooms = [],
        int $ttlSeconds = 3600,
        $info = null,
        array $publish = []
    ): string {
        $secret = $this->options['jwtSecret'];
        if (!is_string($secret) || strlen($secret) < self::MIN_SECRET_BYTES) {
            throw new InvalidArgumentException(sprintf(
                'Postroom: token() needs the option jwtSecret, the JWT_SECRET of the server, with %d bytes or more.',
                self::MIN_SECRET_BYTES
            ));
        }
        if ($userId !== null && !is_int($userId) && (!is_string($userId) || $userId === '')) {
            throw new InvalidArgumentException('Postroom: the user of a token is a string, an integer or null.');
        }
        if ($rooms !== array_filter($rooms, 'is_string') || $publish !== array_filter($publish, 'is_string')) {
            throw new InvalidArgumentException('Postroom: the rooms of a token are a list of strings.');
        }
        if ($ttlSeconds < 1) {
            throw new InvalidArgumentException('Postroom: a token holds for 1 second or more.');
        }
        if ($ttlSeconds > self::MAX_TTL_SECONDS) {
            $meant = $ttlSeconds - time();
            throw new InvalidArgumentException(
                'Postroom: the third argument of token() is seconds from now, not a time; '
                . ($meant > 0 && $meant <= self::MAX_TTL_SECONDS ? "did you mean $meant?" : '366 days at most (the server\'s MAX_TOKEN_SECONDS).')
            );
        }
        $now = time();
        $claims = ['rooms' => array_values($rooms), 'iat' => $now, 'exp' => $now + $ttlSeconds];
        if ($userId !== null) {
            $claims['sub'] = (string) $userId;
        }
        if ($info !== null) {
            $claims['info'] = self::checkedInfo($info);
        }
        if ($publish !== []) {
            $claims['publish'] = array_values($publish);
        }
        try {
            $payload = json_encode($claims, self::JSON);
        } catch (JsonException $error) {
            throw new InvalidArgumentException('Postroom: the user and the rooms of a token must be UTF-8.', 0, $error);
        }
        $signed = self::base64url('{"alg":"HS256","typ":"JWT"}') . '.' . self::base64url($payload);

        return $signed . '.' . self::base64url(hash_hmac('sha256', $signed, $secret, true));
    }

    /**
     * Checks that a webhook or a call came from the server, unchanged and just now, and returns its body, decoded:
     * `['events' => [...]]` of a webhook; `event`, `data`, `connection` and `user` of a call. Needs the option
     * `webhookSecret`. Any sender by the Standard Webhooks specification is understood.
     *
     *     $postroom->verifyWebhook(file_get_contents('php://input'), getallheaders());
     *
     * @param string $body             the raw body of the request, as it came
     * @param array  $headers          all its headers, as getallheaders(), $_SERVER or a framework has them
     * @param int    $toleranceSeconds how far the clocks of the server and of this machine may be apart
     *
     * @throws PostroomException        with the code `invalid_webhook`: answer 401, and do nothing else; always
     *                                  thrown, whatever `onError` says
     * @throws InvalidArgumentException for a secret that cannot be right
     */
    public function verifyWebhook(string $body, array $headers, int $toleranceSeconds = 300): array
    {
        // Where errors are displayed, PHP answers 200 to an uncaught exception, and the event would be lost.
        ini_set('display_errors', '0');
        $id = self::webhookHeader($headers, 'id');
        $timestamp = self::webhookHeader($headers, 'timestamp');
        $signature = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $this->webhookKey(), true));
        $isSigned = false;
        // While a secret is changed, a sender may sign with both.
        foreach (explode(' ', self::webhookHeader($headers, 'signature')) as $given) {
            $isSigned = hash_equals($signature, $given) || $isSigned;
        }
        if (!$isSigned) {
            throw self::notAWebhook(
                'No signature fits. Either another secret signed it, or the body is not as it came: give the raw body.'
            );
        }
        $age = preg_match('/^\d{1,12}$/D', $timestamp) === 1 ? time() - (int) $timestamp : PHP_INT_MAX;
        if (abs($age) > $toleranceSeconds) {
            throw self::notAWebhook(sprintf(
                'It was signed more than %d seconds %s; are the clocks of both machines right?',
                $toleranceSeconds,
                $age > 0 ? 'ago' : 'in the future'
            ));
        }
        // Integers beyond 64 bits would lose digits as floats.
        $parsed = json_decode($body, true, 512, JSON_BIGINT_AS_STRING);
        if (!is_array($parsed)) {
            throw self::notAWebhook('It is signed, but its body is no JSON object.');
        }

        return $parsed;
    }

    /** A copy opens a connection of its own. */
    public function __clone()
    {
        $this->curl = null;
    }

    /** Refused: the key would end up in a session or a cache. */
    public function __serialize(): array
    {
        throw new LogicException('Postroom: this object holds a key and cannot be serialized; make a new one.');
    }

    /** What var_dump() and error reporters show: neither key nor secret. */
    public function __debugInfo(): array
    {
        return ['place' => $this->place, 'key' => $this->key === null ? null : '(hidden)'];
    }

    /** The key that the webhook secret stands for. */
    private function webhookKey(): string
    {
        $secret = $this->options['webhookSecret'];
        $key = is_string($secret) && preg_match('/^whsec_(.+)$/D', trim($secret), $match) === 1
            ? base64_decode($match[1], true)
            : false;
        if ($key === false || strlen($key) < self::MIN_WEBHOOK_SECRET_BYTES) {
            throw new InvalidArgumentException(sprintf(
                'Postroom: verifyWebhook() needs the option webhookSecret, the WEBHOOK_SECRET of the server: whsec_'
                . ' and the base64 of %d bytes or more.',
                self::MIN_WEBHOOK_SECRET_BYTES
            ));
        }

        return $key;
    }

    /** One of the three headers `webhook-…`, however the names are written, and in whatever way values are kept. */
    private static function webhookHeader(array $headers, string $name): string
    {
        foreach ($headers as $header => $value) {
            if (in_array(strtolower((string) $header), ["webhook-$name", "http_webhook_$name"], true)) {
                $value = is_array($value) ? reset($value) : $value;
                if (is_int($value) || (is_string($value) && $value !== '')) {
                    return (string) $value;
                }
            }
        }
        throw self::notAWebhook("The header webhook-$name is missing, so this is no webhook of Postroom.");
    }

    private static function notAWebhook(string $detail): PostroomException
    {
        return new PostroomException($detail, 'invalid_webhook');
    }

    private function sendTo(string $field, $address, string $event, $data, array $options): ?array
    {
        $fields = [$field => $address, 'event' => $event, 'data' => $data];
        $twice = array_keys(array_intersect_key($options, $fields));
        if ($twice !== []) {
            $error = self::misuse('Given twice, as argument and option: ' . implode(', ', $twice));

            return $this->report($error, "$event was not sent");
        }

        return $this->send($fields + $options);
    }

    private function moveConnection(string $method, string $connection, string $room): ?array
    {
        $names = ['connection' => $connection, 'room' => $room];
        // A tab that was closed meanwhile is no failure: toConnection() also says 0.
        $instead = ['unknown_connection' => ['connections' => 0]];

        return $this->control($method, '/connections/{connection}/rooms/{room}', $names, 'connections', $instead);
    }

    /** All rows of all pages. Returns whether rows may be missing. */
    private function walk(string $field, callable $pageAfter): Generator
    {
        $after = null;
        $isPartial = false;
        do {
            $page = $pageAfter($after);
            if ($page === null) {
                return true;
            }
            $isPartial = $isPartial || !empty($page['partial']);
            // "yield from" would count the keys of each page from 0: iterator_to_array() would lose rows.
            foreach ($page[$field] as $row) {
                yield $row;
            }
            $after = $page['next'];
        } while ($after !== null);

        return $isPartial;
    }

    private function page(string $field, string $route, array $names, array $query, ?string $after, int $limit): ?array
    {
        try {
            foreach ($query as $name => $value) {
                $query[$name] = $value === null ? null : self::checkedName($name, $value);
            }
            $path = self::path($route, $names);
            // Leaves out what is null.
            $query = http_build_query($query + ['limit' => $limit, 'after' => $after], '', '&', PHP_QUERY_RFC3986);
            $answer = $this->request('GET', "$path?$query");
            $next = array_key_exists('next', $answer) ? $answer['next'] : false;
            // With a cache that does not look at the query, a walk would never end.
            $isForward = $next === null || (is_string($next) && $next !== $after);
            if (!$isForward || !is_array($answer[$field] ?? null)) {
                throw $this->unexpected(200);
            }

            return $answer;
        } catch (PostroomException $error) {
            return $this->report($error, 'GET ' . ($path ?? $route) . ' failed');
        }
    }

    /**
     * A request that takes no body. Returns its answer, which has this field; null where report() returns it.
     *
     * @param array<string, string|int> $names   for the {parts} of the route
     * @param array<string, ?array>     $instead what to return, by the code of the problem
     */
    private function control(string $method, string $route, array $names, string $field, array $instead = []): ?array
    {
        try {
            $path = self::path($route, $names);
            $answer = $this->request($method, $path);
            if (!isset($answer[$field])) {
                throw $this->unexpected(200);
            }

            return $answer;
        } catch (PostroomException $error) {
            if (array_key_exists($error->getProblemCode(), $instead)) {
                return $instead[$error->getProblemCode()];
            }

            return $this->report($error, "$method " . ($path ?? $route) . ' failed');
        }
    }

    private static function path(string $route, array $names): string
    {
        $parts = [];
        foreach ($names as $name => $value) {
            $parts['{' . $name . '}'] = rawurlencode(self::checkedName($name, $value));
        }

        return strtr($route, $parts);
    }

    /** Refuses what is empty: `/rooms/` is another request than `/rooms/a`, and `user=` may not filter. */
    private static function checkedName(string $what, $value): string
    {
        if (!is_int($value) && (!is_string($value) || $value === '')) {
            throw self::misuse("$what must be text that is not empty, or an integer.", 'invalid_request');
        }

        return (string) $value;
    }

    /** The fields as the server takes them, with an idempotency key. */
    private static function fieldsOf(array $notification): array
    {
        $fields = [];
        foreach ($notification as $name => $value) {
            if ($value === null && $name !== 'data') {
                continue;
            }
            if ($value instanceof DateTimeInterface && $name === 'at') {
                $value = $value->format('Y-m-d\TH:i:s.vP');
            }
            // What array_filter() leaves is no list in JSON.
            $isList = is_array($value) && in_array($name, self::LISTS, true);
            $fields[$name] = $isList ? array_values($value) : $value;
        }

        return $fields + ['key' => bin2hex(random_bytes(16))];
    }

    /** Milliseconds that the server may take for its answer because it waits for acknowledgements. */
    private static function waitOf(array $fields): int
    {
        $seconds = $fields['wait'] ?? 0;

        // The server refuses what is more, or no number, at once.
        return is_numeric($seconds) ? (int) (1000 * max(0, min($seconds, self::MAX_WAIT_SECONDS))) : 0;
    }

    /**
     * Asks with retries, until the deadline. Returns the body of a 200, 202 or 207, parsed.
     *
     * @param int $waitMs so much longer a try, and all of them together, may take
     */
    private function request(
        string $method,
        string $path,
        string $body = '',
        ?int $deadline = null,
        int $waitMs = 0
    ): array {
        $this->failWhileResting();
        $deadline = ($deadline ?? $this->deadline()) + $waitMs;
        for ($retry = 0; ; $retry++) {
            try {
                $timeout = min($this->options['timeoutMs'] + $waitMs, $deadline - self::now());

                return $this->attempt($method, $path, $body, max(1, $timeout));
            } catch (PostroomException $failure) {
                $wait = $this->waitAfter($failure, $retry);
                $fits = $retry < $this->options['retries'] && self::now() + $wait < $deadline;
                if (!$fits || !$failure->isTemporary()) {
                    $this->restAfter($failure);
                    throw $failure;
                }
                usleep($wait * 1000);
            }
        }
    }

    /** Of a call that begins now, on the clock of now(). */
    private function deadline(): int
    {
        return self::now() + $this->options['budgetMs'];
    }

    /** Milliseconds. Never less than Retry-After: where that does not fit into the budget, the call ends. */
    private function waitAfter(PostroomException $failure, int $retry): int
    {
        $backoff = min(self::MAX_BACKOFF_MS, $this->options['backoffMs'] * 2 ** min($retry, 16));

        return 1000 * ($failure->getRetryAfter() ?? 0) + random_int(intdiv($backoff, 2), $backoff);
    }

    /** So that a page that sends ten times to a server that is down waits for it once. */
    private function restAfter(PostroomException $failure): void
    {
        $isDown = $failure instanceof PostroomConnectionException
            || in_array($failure->getStatus(), [429, 502, 503, 504], true);
        if ($isDown && $failure->isTemporary()) {
            $this->restUntil = self::now() + $this->options['restMs'];
            $this->lastFailure = $failure;
        }
    }

    private function failWhileResting(): void
    {
        $last = $this->lastFailure;
        if ($last === null) {
            return;
        }
        if (self::now() >= $this->restUntil) {
            $this->lastFailure = null;

            return;
        }
        throw $last->asReasonNotToTry();
    }

    /** One try, within so many milliseconds. */
    private function attempt(string $method, string $path, string $body, int $timeout): array
    {
        $retryAfter = null;
        $curl = $this->handle();
        // The handle remembers the request before: HTTPGET makes it forget its body. A POST or PUT without one
        // says so, with a Content-Length of 0.
        $takesBody = $method === 'POST' || $method === 'PUT';
        $content = $takesBody ? [CURLOPT_POSTFIELDS => $body] : [CURLOPT_HTTPGET => true];
        curl_setopt_array($curl, $content + [
            CURLOPT_CUSTOMREQUEST => $method,
            CURLOPT_URL => $this->url . $path,
            CURLOPT_HTTPHEADER => $this->headers($body !== ''),
            CURLOPT_TIMEOUT_MS => $timeout,
            CURLOPT_CONNECTTIMEOUT_MS => min($this->options['connectTimeoutMs'], $timeout),
            CURLOPT_HEADERFUNCTION => static function ($curl, string $line) use (&$retryAfter): int {
                if (preg_match('/^Retry-After:\s*(.*?)\s*$/i', $line, $match) === 1) {
                    $retryAfter = self::secondsUntil($match[1]);
                }

                return strlen($line);
            },
        ]);
        $answer = curl_exec($curl);
        if (!is_string($answer)) {
            throw $this->connectionFailure(curl_errno($curl), curl_error($curl));
        }
        $status = (int) curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        $parsed = json_decode($answer, true);
        if (in_array($status, [200, 202, 207], true) && is_array($parsed)) {
            return $parsed;
        }
        if (!isset($parsed['code'], $parsed['detail']) || !is_string($parsed['code'])) {
            throw $this->unexpected($status, $retryAfter);
        }
        $errors = (array) ($parsed['errors'] ?? []);
        throw new PostroomException((string) $parsed['detail'], $parsed['code'], $status, $errors, $retryAfter);
    }

    /** @return resource|\CurlHandle */
    private function handle()
    {
        $pid = (int) getmypid();
        if ($this->curl !== null && $this->pid === $pid) {
            return $this->curl;
        }
        $settings = [
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_PATH_AS_IS => true, // a room may be named ".."
            CURLOPT_USERAGENT => 'postroom-php/' . self::VERSION,
            CURLOPT_NOSIGNAL => true, // timeouts below a second need it
        ];
        if ($this->options['socket'] !== null) {
            $settings += [CURLOPT_UNIX_SOCKET_PATH => $this->options['socket'], CURLOPT_PROXY => ''];
        }
        $curl = curl_init();
        if ($curl === false || !curl_setopt_array($curl, $settings + $this->options['curl'])) {
            throw new InvalidArgumentException('Postroom: curl refuses the options in curl.');
        }
        $this->pid = $pid;

        return $this->curl = $curl;
    }

    private function headers(bool $hasBody): array
    {
        // Where one ends with its colon, curl leaves out its own: "Expect: 100-continue" makes it wait before it
        // sends a large body, and a content type of forms would be wrong.
        $type = $hasBody ? 'Content-Type: application/json' : 'Content-Type:';
        $headers = [$type, 'Accept: application/json', 'Expect:'];
        if ($this->key !== null) {
            $headers[] = 'Authorization: Bearer ' . $this->key;
        }

        return $headers;
    }

    private function connectionFailure(int $errno, string $error): PostroomConnectionException
    {
        $isTimeout = $errno === CURLE_OPERATION_TIMEDOUT;
        $detail = $isTimeout
            ? "{$this->place} did not answer in time: $error"
            : "{$this->place} cannot be reached: $error" . $this->socketFault();

        return new PostroomConnectionException($detail, $isTimeout ? 'timeout' : 'connection_failed', $errno);
    }

    /** What curl does not say of a Unix socket. */
    private function socketFault(): string
    {
        $socket = $this->options['socket'];
        if ($socket === null) {
            return '';
        }
        clearstatcache(true, $socket);
        if (!@file_exists($socket)) {
            return ' (there is no such file)';
        }

        return @is_writable($socket) ? '' : ' (this process may not write to it)';
    }

    private function unexpected(int $status, ?int $retryAfter = null): PostroomException
    {
        $detail = "{$this->place} answered $status, but not as Postroom does. Is this its address?";

        return new PostroomException($detail, 'unexpected_answer', $status, [], $retryAfter);
    }

    private static function misuse(string $detail, string $code = 'invalid_notification'): PostroomException
    {
        return new PostroomException($detail, $code);
    }

    /** Throws, logs or calls, as `onError` says. */
    private function report(PostroomException $error, string $summary): ?array
    {
        $onError = $this->options['onError'];
        if ($onError === 'throw') {
            throw $error;
        }
        if ($onError === 'log') {
            // One line, whatever the event and the detail contain.
            error_log(preg_replace('/[\x00-\x1f\x7f]+/', ' ', "postroom: $summary: {$error->getMessage()}"));
        } else {
            $onError($error);
        }

        return null;
    }

    private static function encode(array $body): string
    {
        try {
            return json_encode($body, self::JSON);
        } catch (JsonException $error) {
            $path = self::faultyPath($body, '', 0) ?: 'the notification';
            $hint = $error->getCode() === JSON_ERROR_UTF8
                ? '; text must be UTF-8: mb_convert_encoding($text, \'UTF-8\', \'Windows-1252\'), say'
                : '';
            $message = "cannot be encoded as JSON: {$error->getMessage()}$hint";
            $errors = [['path' => $path, 'message' => $message]];
            throw new PostroomException("$path: $message", 'invalid_data', 0, $errors, null, $error);
        }
    }

    /** Where in the body the part is that JSON cannot carry, such as `[2].data.customer.name`. */
    private static function faultyPath(array $value, string $path, int $depth): string
    {
        foreach ($depth < 20 ? $value : [] as $name => $part) {
            if (json_encode($part, self::JSON & ~JSON_THROW_ON_ERROR) !== false) {
                continue;
            }
            $path .= is_int($name) ? "[$name]" : ($path === '' ? $name : ".$name");
            if (is_object($part) && !$part instanceof JsonSerializable) {
                $part = get_object_vars($part);
            }

            return is_array($part) ? self::faultyPath($part, $path, $depth + 1) : $path;
        }

        return $path;
    }

    private static function checkedUrl(
        #[\SensitiveParameter]
        string $url
    ): string {
        $parts = parse_url($url);
        $isHttp = isset($parts['scheme'], $parts['host']) && preg_match('/^https?$/i', $parts['scheme']) === 1;
        if (!$isHttp || isset($parts['user']) || isset($parts['query']) || isset($parts['fragment'])) {
            throw new InvalidArgumentException(
                'Postroom: the URL must be like http://127.0.0.1:8080 or unix:/run/postroom.sock,'
                . ' without user, query or fragment.'
            );
        }

        return rtrim($url, '/');
    }

    private static function checkedOptions(
        #[\SensitiveParameter]
        array $options
    ): array {
        $unknown = array_keys(array_diff_key($options, self::DEFAULTS));
        if ($unknown !== []) {
            throw new InvalidArgumentException(sprintf(
                'Postroom: no such option: %s. There are %s.',
                implode(', ', $unknown),
                implode(', ', array_keys(self::DEFAULTS))
            ));
        }
        $options += self::DEFAULTS;
        foreach (self::DEFAULTS as $name => $default) {
            $least = in_array($name, ['connectTimeoutMs', 'timeoutMs', 'budgetMs'], true) ? 1 : 0;
            if (is_int($default) && (!is_int($options[$name]) || $options[$name] < $least)) {
                throw new InvalidArgumentException("Postroom: the option $name must be an integer from $least.");
            }
        }
        $socket = $options['socket'];
        if (!is_array($options['curl']) || ($socket !== null && (!is_string($socket) || $socket === ''))) {
            throw new InvalidArgumentException('Postroom: the option curl is an array, the option socket a path.');
        }
        $onError = $options['onError'];
        if ($onError !== 'throw' && $onError !== 'log' && !is_callable($onError)) {
            throw new InvalidArgumentException("Postroom: the option onError must be 'throw', 'log' or a callable.");
        }

        return $options;
    }

    /** @return array|object */
    private static function checkedInfo($info)
    {
        try {
            // To JSON, an empty array would be a list.
            $info = $info === [] ? new stdClass() : $info;
            $json = json_encode($info, self::JSON);
        } catch (JsonException $error) {
            $reason = $error->getMessage();
            throw new InvalidArgumentException("Postroom: the info of a token is no JSON: $reason", 0, $error);
        }
        if ($json[0] !== '{' || strlen($json) > self::MAX_INFO_BYTES) {
            throw new InvalidArgumentException(sprintf(
                'Postroom: the info of a token is an array with names, up to %d bytes as JSON.',
                self::MAX_INFO_BYTES
            ));
        }

        return $info;
    }

    /** Seconds, of a Retry-After in either form; null for one that is neither. */
    private static function secondsUntil(string $retryAfter): ?int
    {
        if (preg_match('/^\d{1,9}$/', $retryAfter) === 1) {
            return min(self::MAX_RETRY_AFTER_SECONDS, (int) $retryAfter);
        }
        $date = strtotime($retryAfter);

        return $date === false ? null : min(self::MAX_RETRY_AFTER_SECONDS, max(0, $date - time()));
    }

    private static function base64url(string $bytes): string
    {
        return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    }

    /** Milliseconds of a clock that is never set. */
    private static function now(): int
    {
        return (int) (hrtime(true) / 1e6);
    }
}

/**
 * What failed, and why. The message is for logs: detail, code and status. getCode() is the status too.
 *
 * Codes are those of the server (`invalid_notification`, `unauthorized`, `unavailable`, …; docs/protocol.md),
 * and of this client: `connection_failed` and `timeout` (both PostroomConnectionException), `invalid_data`
 * (cannot be encoded as JSON), `unexpected_answer` (that was not Postroom), `invalid_webhook` (a request whose
 * signature does not hold). Where the client refuses arguments itself, the code is the server's, and the status 0.
 */
class PostroomException extends RuntimeException
{
    private string $problemCode;
    private string $detail;
    private int $status;
    private array $errors;
    private ?int $retryAfter;

    public function __construct(
        string $detail,
        string $problemCode,
        int $status = 0,
        array $errors = [],
        ?int $retryAfter = null,
        ?Throwable $previous = null
    ) {
        $suffix = $status === 0 ? $problemCode : "$problemCode, $status";
        parent::__construct("$detail ($suffix)", $status, $previous);
        $this->problemCode = $problemCode;
        $this->detail = $detail;
        $this->status = $status;
        $this->errors = $errors;
        $this->retryAfter = $retryAfter;
    }

    /** A stable word, such as `invalid_notification`. */
    public function getProblemCode(): string
    {
        return $this->problemCode;
    }

    /** A sentence that tells what to change. */
    public function getDetail(): string
    {
        return $this->detail;
    }

    /** The HTTP status; 0 where there was no answer. */
    public function getStatus(): int
    {
        return $this->status;
    }

    /** @return array<array{path: string, message: string}> what is wrong, field by field */
    public function getErrors(): array
    {
        return $this->errors;
    }

    /** Seconds after which the server wants to be asked again, if it said so. */
    public function getRetryAfter(): ?int
    {
        return $this->retryAfter;
    }

    /** Whether the same call may work later; give a notification a `key` of yours to send it again safely. */
    public function isTemporary(): bool
    {
        return $this->status === 408 || $this->status === 429 || $this->status >= 500;
    }

    /** @internal the same for a further call, which is not even tried */
    public function asReasonNotToTry(): self
    {
        $detail = self::notTried($this);

        return new self($detail, $this->problemCode, $this->status, $this->errors, $this->retryAfter, $this);
    }

    protected static function notTried(self $reason): string
    {
        return "Not tried, because a moment ago (restMs): {$reason->detail}";
    }
}

/**
 * No answer came: no connection, a broken one, or a timeout. Whether the server did what it was asked for is not
 * known, except that it did not where the connection was never made. getCode() is the CURLE_… number.
 */
class PostroomConnectionException extends PostroomException
{
    /** Others, such as a certificate that does not hold, fail the same way again. */
    private const TEMPORARY = [
        CURLE_COULDNT_RESOLVE_HOST,
        CURLE_COULDNT_CONNECT,
        CURLE_PARTIAL_FILE,
        CURLE_OPERATION_TIMEDOUT,
        CURLE_SSL_CONNECT_ERROR,
        CURLE_GOT_NOTHING,
        CURLE_SEND_ERROR,
        CURLE_RECV_ERROR,
    ];

    public function __construct(string $detail, string $problemCode, int $errno, ?Throwable $previous = null)
    {
        parent::__construct($detail, $problemCode, 0, [], null, $previous);
        $this->code = $errno;
    }

    public function isTemporary(): bool
    {
        return in_array($this->code, self::TEMPORARY, true);
    }

    /** @internal */
    public function asReasonNotToTry(): PostroomException
    {
        return new self(self::notTried($this), $this->getProblemCode(), $this->code, $this);
    }
}
