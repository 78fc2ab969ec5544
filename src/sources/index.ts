export { NotifyEndpoint } from './http.js';
