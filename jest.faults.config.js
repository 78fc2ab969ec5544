import settings from './jest.config.js';

/** What takes minutes: brokers and servers that are killed, stand still and come back; and strangers who mean harm. */
export default {
  ...settings,
  roots: ['<rootDir>/tests/faults', '<rootDir>/tests/hostile'],
  testPathIgnorePatterns: [],
};
