import { randomBytes } from 'node:crypto';
import type { z } from 'zod';
import { contradictions } from './contradictions.js';
import { isNear } from './model/near.js';
import { StartError } from './model/start-error.js';
import { hasPublicKeys, Settings } from './settings.js';

/** All settings, checked, by the names of their environment variables, as in README and .env.example. */
export type Config = Readonly<Settings> & {
  /** True if not in production. Then missing secrets are made for this run, and `GET /` shows a page. */
  readonly development: boolean;
  /** True if `NOTIFY_KEYS` was not set: then its key was made for this run. */
  readonly areKeysMadeUp: boolean;
};

type Environment = Readonly<Record<string, string | undefined>>;

/** Lists everything that is wrong with the settings. */
export class ConfigError extends StartError {
  constructor(faults: readonly string[]) {
    super(`Postroom cannot start with these settings:\n${faults.map(fault => `  - ${fault}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

// Short names are similar to too many others: PORT is one letter away from POST, PORTS and SORT.
const MIN_COMPARED_LENGTH = 6;

/**
 * Reads the settings from an environment. Throws a ConfigError that lists every fault by name. In development, makes a
 * missing key and a missing JWT secret, at random.
 */
export function readConfig(environment: Environment): Config {
  const given = whatIsSet(environment);
  const development = given.NODE_ENV !== 'production';
  const settings = Settings.safeParse(given);
  const faults = settings.success
    ? contradictions(settings.data, development)
    : [
        ...settings.error.issues.map(faultOf),
        ...otherContradictions(given, settings.error.issues, development),
      ];
  if (!settings.success || faults.length > 0) throw new ConfigError(faults);
  const { NOTIFY_KEYS, JWT_SECRET } = settings.data;
  return Object.freeze({
    ...settings.data,
    development,
    areKeysMadeUp: NOTIFY_KEYS.length === 0,
    NOTIFY_KEYS: NOTIFY_KEYS.length > 0 ? NOTIFY_KEYS : [randomBytes(24).toString('hex')],
    JWT_SECRET: JWT_SECRET ?? (hasPublicKeys(settings.data) ? undefined : randomBytes(32).toString('hex')),
  });
}

/**
 * A sentence for each variable whose name is nearly the name of a setting: probably a typing error. The variable may
 * also belong to another program, so this is no fault.
 */
export function settingWarnings(environment: Environment): string[] {
  const settings = Object.keys(Settings.shape);
  const compared = settings.filter(setting => setting.length >= MIN_COMPARED_LENGTH);
  return Object.keys(whatIsSet(environment)).flatMap(name => {
    if (settings.includes(name)) return [];
    const meant = compared.find(setting => isNear(name.toUpperCase(), setting));
    return meant === undefined ? [] : [`${name} is not a setting; did you mean ${meant}?`];
  });
}

/** An empty value in an .env file means: not set. */
function whatIsSet(environment: Environment): Environment {
  return Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== undefined && value.trim() !== ''),
  );
}

function faultOf(issue: z.core.$ZodIssue): string {
  return `${issue.path.join('.')} ${issue.message}`;
}

/** The contradictions among the valid settings, if others are invalid: so the user sees all faults at once. */
function otherContradictions(
  given: Environment,
  issues: readonly z.core.$ZodIssue[],
  development: boolean,
): string[] {
  const wrong = issues.map(issue => String(issue.path[0]));
  const right = Object.fromEntries(Object.entries(given).filter(([name]) => !wrong.includes(name)));
  const settings = Settings.safeParse(right);
  if (!settings.success) return [];
  return contradictions(settings.data, development).filter(
    // Faults of invalid settings are reported already.
    fault => !wrong.some(name => new RegExp(`\\b${name}\\b`).test(fault)),
  );
}
