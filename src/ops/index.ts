export { createApp } from './app.js';
export type { BackendReport, SourceReport } from './health.js';
export { Control } from './control/control.js';
