import settings from './jest.config.js';

/** What needs nothing beyond npm, in a minute or so: for every Node that Postroom runs on, .ci/node-versions. */
export default {
  ...settings,
  testMatch: [
    '**/tests/*.test.ts',
    '**/tests/{auth,clients,clients-js,core,journal,model,ops,storage,webhooks}/**/*.test.ts',
    '**/tests/cluster/local.test.ts',
    '**/tests/end-to-end/{rolling-restart,shutdown}.test.ts',
    '**/tests/sources/{batcher,http*,intake}.test.ts',
  ],
  testPathIgnorePatterns: [
    '/redis[^/]*\\.test\\.ts$',
    '/clients-js/browser\\.test\\.ts$',
    // Long, and not of Node: rules in virtual time, deadlines that pass.
    '/webhooks/(arrivals|missed)\\.test\\.ts$',
    // Of npm and TypeScript rather than of Node.
    '/clients-js/pack\\.test\\.ts$',
    '/tests/package\\.test\\.ts$',
  ],
};
