import type { Connection } from '../core/connection.js';
import { type Deadline, deadlineOf, type Deadlines, keyAt } from '../core/receipts/deadlines.js';
import type { LocalReceipt, Receipts } from '../core/receipts/receipts.js';
import { userAddress, userOf } from '../model/address.js';
import type { After } from '../model/clock.js';
import type { Entry } from '../model/notification.js';
import { notificationJson } from '../model/notification-json.js';
import { Repeated } from '../model/repeated.js';
import { type Lease, pagesOf, type Store } from '../storage/store.js';
import type { Happening } from './event.js';

const GROUP = 100;
const PAGE = 500;
const CHECK_MS = 1000;
// An acknowledgement of another node may still be on its way to the store.
const SLACK_MS = 1000;
// The node that sends looks every second, and another takes over after some seconds.
const KEPT_MS = 10_000;
// Of events that are stored together: a part of what the queue holds in memory.
const MOST_BYTES = 2 * 1024 * 1024;
const EVENT_BYTES = 1000;
const PLACE = 'place';

/**
 * Tells the backend what nobody has acknowledged in time. Acknowledgements are stored, so they count over restarts. The
 * node that sends goes through the deadlines in order, and stores how far it has come. After a crash some may be told
 * again.
 */
export class Missed {
  readonly #options: MissedOptions;
  /** Acknowledgements that could not be stored yet. */
  readonly #unstored = new Set<string>();
  /** The key of the last deadline that was looked at; undefined until this node has the lease. */
  #place: string | undefined;
  /** Who was told of the notification that could not be told to all yet. */
  readonly #told = new Set<string>();
  #isFailing = false;
  #isStopped = false;
  readonly #checks: Repeated;

  constructor(options: MissedOptions) {
    this.#options = options;
    const { after, failed } = options;
    this.#checks = new Repeated({ pauseMs: CHECK_MS, after, run: () => this.#check(), failed });
    options.deadlines.watch();
    options.receipts.watch((receipt, connection) => this.#acknowledged(receipt, connection));
  }

  /** Looks every second from now on. */
  start(): void {
    this.#checks.start();
  }

  /** Stores the acknowledgements that could not be stored yet. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#checks.stop();
    await this.#storeAll().catch(this.#options.failed);
  }

  /** Only the first of a user, and the first of all, say something new. */
  #acknowledged({ entry, acknowledged, users }: LocalReceipt, { user }: Connection): void {
    // Nobody would look at it, nor remove it.
    if (deadlineOf(entry) <= this.#options.now() - SLACK_MS) return;
    if (acknowledged.size === 1) this.#store(anybodyKey(entry.id));
    if (user !== undefined && users.get(user)?.acknowledged === 1) this.#store(userKey(entry.id, user));
  }

  #store(key: string): void {
    this.#unstored.add(key);
    this.#put(key).catch(error => {
      // One line for many: it is tried again at each check.
      if (!this.#isFailing) this.#options.failed(error);
      this.#isFailing = true;
    });
  }

  async #put(key: string): Promise<void> {
    await this.#options.acknowledgements.put(key, true);
    this.#unstored.delete(key);
  }

  async #storeAll(): Promise<void> {
    await Promise.all([...this.#unstored].map(key => this.#put(key)));
    this.#isFailing = false;
  }

  async #check(): Promise<void> {
    await this.#storeAll();
    const { lease, deadlines, places, now } = this.#options;
    if (!lease.isHeld) {
      this.#place = undefined;
      deadlines.forgetLeft(now() - KEPT_MS);
      return;
    }
    this.#place ??= (await places.get(PLACE)) ?? (await this.#firstPlace());
    for (let left = deadlines.firstLeft; left !== undefined; left = deadlines.firstLeft) {
      if (left.key > this.#place) {
        await this.#tellMissed(left.entry);
        await this.#forget(left.entry);
      }
      deadlines.shiftLeft();
    }
    while (lease.isHeld && !this.#isStopped) {
      const over: Deadline[] = deadlines.over(this.#place, now() - SLACK_MS, GROUP);
      const last = over.at(-1);
      if (last === undefined) return;
      for (const { entry } of over) await this.#tellMissed(entry);
      await places.put(PLACE, last.key);
      this.#place = last.key;
      // They are not needed any more.
      for (const { entry } of over) await this.#forget(entry);
    }
  }

  /** Before the first start with webhooks nobody noted who had acknowledged what. */
  async #firstPlace(): Promise<string> {
    const place = keyAt(this.#options.now());
    await this.#options.places.put(PLACE, place);
    return place;
  }

  /** Each user addressed by name counts alone; all other addresses count together. */
  async #tellMissed(entry: Entry): Promise<void> {
    const { addresses } = entry.notification;
    const acknowledged = new Set(await this.#keysOf(entry));
    const missing: (string | null)[] = [];
    for (const address of addresses) {
      const user = userOf(address);
      if (user !== undefined && !acknowledged.has(userKey(entry.id, user))) missing.push(user);
    }
    const hasOthers = addresses.some(address => userOf(address) === undefined);
    if (hasOthers && !acknowledged.has(anybodyKey(entry.id))) missing.push(null);
    if (missing.length === 0) return;
    const { tell, receipts, now } = this.#options;
    const at = now();
    const tellOf = async (user: string | null) => {
      const key = `${entry.id} ${user}`;
      if (this.#told.has(key)) return;
      if (!(await tell({ type: 'notification.missed', notification: missedBy(entry, user), user })))
        throw new Error('an event could not be stored');
      this.#told.add(key);
      receipts.missed(entry, user, at);
    };
    const most = Math.ceil(MOST_BYTES / (EVENT_BYTES + entry.notification.data.length));
    for (let from = 0; from < missing.length; from += most)
      await Promise.all(missing.slice(from, from + most).map(tellOf));
    this.#told.clear();
  }

  async #keysOf({ id }: Entry): Promise<string[]> {
    const keys: string[] = [];
    for await (const page of pagesOf(this.#options.acknowledgements, id, `${id}!`, PAGE))
      keys.push(...page.map(([key]) => key));
    return keys;
  }

  async #forget(entry: Entry): Promise<void> {
    const keys = await this.#keysOf(entry);
    await Promise.all(keys.map(key => this.#options.acknowledgements.remove(key)));
  }
}

interface MissedOptions {
  readonly receipts: Receipts;
  readonly deadlines: Deadlines;
  /** What was acknowledged: by a user, and by anybody. */
  readonly acknowledgements: Store<true>;
  /** How far the deadlines were looked at. */
  readonly places: Store<string>;
  readonly lease: Lease;
  /** Resolves to whether the event is durable. */
  readonly tell: (happening: Happening) => Promise<boolean>;
  /** The journal's clock, in milliseconds since the epoch. */
  readonly now: () => number;
  readonly after: After;
  readonly failed: (error: unknown) => void;
}

function anybodyKey(id: string): string {
  return id;
}

function userKey(id: string, user: string): string {
  return `${id} ${user}`;
}

/**
 * A notification as it was posted, with its id. One that a user has missed names this user alone: it may have been for
 * thousands. One that nobody has acknowledged names the other addresses.
 */
function missedBy({ id, notification }: Entry, user: string | null): string {
  const addresses =
    user === null
      ? notification.addresses.filter(address => userOf(address) === undefined)
      : [userAddress(user)];
  return notificationJson({ ...notification, addresses }, { id });
}
