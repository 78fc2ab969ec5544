import type { SenderStatus } from '../../src/webhooks/sender.js';
import { KEY } from './server.js';

export interface Report {
  readonly status: string;
  readonly connections: number;
  readonly journal: {
    readonly kind: string;
    readonly available: boolean;
    readonly lagMs: number;
    readonly entries: number;
    readonly nodes?: readonly {
      readonly node: string;
      readonly connections: number;
      readonly lagMs: number;
    }[];
  };
  /** Present if there is a WEBHOOK_URL. */
  readonly webhooks?: SenderStatus;
  readonly sources: Readonly<Record<string, SourceReport | undefined>>;
}

interface SourceReport {
  readonly connected: boolean;
  readonly taken: number;
  readonly refused: number;
  readonly lag?: number;
  readonly dropped?: number;
  readonly lastError?: { readonly at: string; readonly reason: string };
}

/** The report that an operator sees. */
export async function reportOf(server: { readonly url: string }): Promise<Report> {
  const response = await fetch(`${server.url}/health`, { headers: { authorization: `Bearer ${KEY}` } });
  return (await response.json()) as Report;
}

/** The first report that fulfils a condition. Asks again and again, for things that no frame or event reports. */
export async function untilReport(
  server: { readonly url: string },
  holds: (report: Report) => boolean,
): Promise<Report> {
  for (;;) {
    const report = await reportOf(server);
    if (holds(report)) return report;
  }
}
