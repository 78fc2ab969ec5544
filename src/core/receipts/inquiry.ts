import { z } from 'zod';
import type { Cluster } from '../../cluster/cluster.js';
import { type Ask, question } from '../../cluster/question.js';
import type { Window } from '../window.js';
import { type Receipts, STATES, type State } from './receipts.js';

const TOPIC = 'receipt';

/** What all nodes together know of a notification. */
export interface Findings {
  /** Connections that it was addressed to when it came. */
  readonly connections: number;
  readonly acknowledged: number;
  /** The users to whom it was addressed by name, if it asks for acknowledgements. */
  readonly users: ReadonlyMap<string, { connections: number; acknowledged: number }>;
  /** For whom it was missed, and when that was told, in milliseconds since the epoch. */
  readonly missed: readonly { readonly user: string | null; readonly at: number }[];
  /** What became of it for the user who was asked for, and how many entries that user is behind. */
  readonly state: State;
  readonly behind: number;
  /** Some nodes did not answer in time. */
  readonly partial: boolean;
}

type Question = z.output<typeof Question>;
const Question = z.object({ id: z.string(), user: z.string().optional() });

type Report = z.output<typeof Report>;
const Report = z.object({
  connections: z.number(),
  acknowledged: z.number(),
  users: z.array(z.tuple([z.string(), z.number(), z.number()])),
  missed: z.array(z.tuple([z.string().nullable(), z.number()])),
  state: z.enum(STATES),
  behind: z.number(),
});

/** Asks all nodes what became of a notification. */
export class Inquiry {
  readonly #ask: Ask<Question, Report>;
  readonly #window: Window;
  readonly #receipts: Receipts;

  constructor(cluster: Cluster, window: Window, receipts: Receipts) {
    this.#window = window;
    this.#receipts = receipts;
    const forms = { question: Question, answer: Report };
    this.#ask = question(cluster, TOPIC, forms, asked => this.#report(asked));
  }

  /** @param user whose case is looked into; may be left out */
  async ask(id: string, user?: string): Promise<Findings> {
    const { answers, partial } = await this.#ask({ id, user });
    const users = new Map<string, { connections: number; acknowledged: number }>();
    const findings = { connections: 0, acknowledged: 0, missed: [] as Findings['missed'][number][] };
    let state: State = 'unknown';
    let behind = 0;
    for (const report of answers) {
      findings.connections += report.connections;
      findings.acknowledged += report.acknowledged;
      findings.missed.push(...report.missed.map(([missing, at]) => ({ user: missing, at })));
      for (const [name, connections, acknowledged] of report.users) {
        const sum = users.get(name) ?? { connections: 0, acknowledged: 0 };
        sum.connections += connections;
        sum.acknowledged += acknowledged;
        users.set(name, sum);
      }
      if (STATES.indexOf(report.state) > STATES.indexOf(state)) ({ state, behind } = report);
    }
    return { ...findings, users, state, behind, partial };
  }

  #report({ id, user }: Question): Report {
    const receipt = this.#receipts.of(id);
    const position = this.#window.positionOf(id);
    const { state, behind = 0 } =
      user === undefined ? { state: 'unknown' as const } : this.#receipts.stateOf(user, id);
    return {
      connections: position === undefined ? 0 : this.#window.reachedAt(position),
      acknowledged: receipt?.acknowledged.size ?? 0,
      users: [...(receipt?.users ?? [])].map(([name, { connections, acknowledged }]) => [
        name,
        connections,
        acknowledged,
      ]),
      missed: (receipt?.missed ?? []).map(({ user: missing, at }) => [missing, at]),
      state,
      behind,
    };
  }
}
