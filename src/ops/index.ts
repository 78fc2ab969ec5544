export { createApp } from './app.js';
export type { SourceReport } from './health.js';
export { handleDisconnects } from './disconnect.js';
