import { matches } from './model/pattern.js';
import { HOW_TO_MAKE_ONE } from './setting-forms.js';
import { hasPublicKeys, type Settings } from './settings.js';

/** Faults of settings that are valid one by one, but not together. */
export function contradictions(settings: Settings, development: boolean): string[] {
  const faults = [];
  if (!development && settings.NOTIFY_KEYS.length === 0)
    faults.push(`NOTIFY_KEYS is required with NODE_ENV=production; ${HOW_TO_MAKE_ONE}`);
  if (!development && settings.JWT_SECRET === undefined && !hasPublicKeys(settings))
    faults.push(
      `JWT_SECRET (or JWT_PUBLIC_KEY or JWT_JWKS_URL) is required with NODE_ENV=production; ${HOW_TO_MAKE_ONE}`,
    );
  if (settings.JWT_PREVIOUS_SECRET !== undefined && settings.JWT_SECRET === undefined)
    faults.push('JWT_PREVIOUS_SECRET is there to change JWT_SECRET, which is not set');
  if (settings.INTERNAL_ONLY && settings.INTERNAL_PORT === undefined && settings.NOTIFY_SOCKET === undefined)
    faults.push('INTERNAL_ONLY leaves nowhere to POST to; set INTERNAL_PORT or NOTIFY_SOCKET');
  if (
    settings.INTERNAL_PORT !== undefined &&
    settings.INTERNAL_PORT !== 0 &&
    settings.INTERNAL_PORT === settings.PORT
  )
    faults.push('INTERNAL_PORT must differ from PORT');
  return [
    ...faults,
    ...sessionContradictions(settings),
    ...webhookContradictions(settings),
    ...bridgeContradictions(settings),
  ];
}

function webhookContradictions(settings: Settings): string[] {
  const { WEBHOOK_URL, CALL_URL, WEBHOOK_SECRET } = settings;
  const faults = [];
  if (WEBHOOK_SECRET === undefined && WEBHOOK_URL !== undefined)
    faults.push('WEBHOOK_URL needs WEBHOOK_SECRET, which signs the requests');
  if (WEBHOOK_SECRET === undefined && CALL_URL !== undefined)
    faults.push('CALL_URL needs WEBHOOK_SECRET, which signs the requests');
  if (WEBHOOK_SECRET !== undefined && WEBHOOK_URL === undefined && CALL_URL === undefined)
    faults.push(
      'WEBHOOK_SECRET signs the requests to WEBHOOK_URL and CALL_URL, and neither is set; set one of them, or unset it',
    );
  return faults;
}

function sessionContradictions({ AUTH_URL, ALLOWED_ORIGINS }: Settings): string[] {
  const open = AUTH_URL === undefined ? undefined : ALLOWED_ORIGINS.find(isOpenToAnyPage);
  if (open === undefined) return [];
  return [
    `ALLOWED_ORIGINS must name the origins of your own pages with AUTH_URL, such as https://example.com; it is ${open === '*' ? '*, also if it is not set' : `open with ${open}`}. Browsers send cookies from every page, so any page could then connect in the name of a visitor`,
  ];
}

// A star may stand for sub-domains, or for the scheme or the port.
const OWN_ORIGIN =
  /^((\*|[a-z][a-z\d+.-]*):\/\/)?(\[[\da-f:.]+\]|[^*/:[\]]+|\*\.[^*/:[\]]+\.[^*/:[\]]+)(:(\d+|\*))?$/;

/** Whether strangers can have an origin that matches a pattern. */
function isOpenToAnyPage(pattern: string): boolean {
  // Any page can put a part of itself into a sandboxed frame, whose origin is null.
  return pattern === 'null' || !OWN_ORIGIN.test(pattern);
}

function bridgeContradictions(settings: Settings): string[] {
  const faults = [];
  const { JOURNAL, REDIS_URL, REDIS_CHANNELS, REDIS_STREAM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD } =
    settings;
  if (JOURNAL === 'redis' && REDIS_URL === undefined)
    faults.push('JOURNAL=redis needs REDIS_URL, the address of Redis');
  if (JOURNAL === 'redis' && settings.NOTIFY_KEYS.length === 0)
    faults.push(`NOTIFY_KEYS is required with JOURNAL=redis, the same for all nodes; ${HOW_TO_MAKE_ONE}`);
  if (JOURNAL === 'redis' && settings.JWT_SECRET === undefined && !hasPublicKeys(settings))
    faults.push(
      `JWT_SECRET (or JWT_PUBLIC_KEY or JWT_JWKS_URL) is required with JOURNAL=redis, the same for all nodes; ${HOW_TO_MAKE_ONE}`,
    );
  if (REDIS_URL === undefined && REDIS_CHANNELS.length > 0)
    faults.push('REDIS_CHANNELS needs REDIS_URL, the address of Redis');
  if (REDIS_URL === undefined && REDIS_STREAM !== undefined)
    faults.push('REDIS_STREAM needs REDIS_URL, the address of Redis');
  for (const channel of REDIS_CHANNELS) {
    const pattern = REDIS_CHANNELS.find(other => other !== channel && matches(other, channel));
    if (pattern !== undefined)
      faults.push(`REDIS_CHANNELS would take ${channel} twice: ${pattern} matches it too`);
  }
  if ((KAFKA_SASL_USERNAME === undefined) !== (KAFKA_SASL_PASSWORD === undefined))
    faults.push('KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD belong together; set both');
  return faults;
}
