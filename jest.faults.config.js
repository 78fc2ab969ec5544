import settings from './jest.config.js';

/** What takes minutes: brokers and servers that are killed, stand still and come back. */
export default { ...settings, roots: ['<rootDir>/tests/faults'], testPathIgnorePatterns: [] };
