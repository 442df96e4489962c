/** For the tests' harness: the very platform that `npm start` starts. */
export { type Config, readConfig } from './config.ts';
export { Failure } from './failure.ts';
export { Home } from './home/home.ts';
export { FIXTURE, findInstalled } from './models/model-folder.ts';
export { pullModel } from './models/pull.ts';
export { OWNER_EMAIL } from './platform/first-key.ts';
export { type Platform, type RunningWorker, startPlatform } from './platform/platform.ts';
export { freePort } from './processes/ports.ts';
export { lineProgress, type Progress, silentProgress } from './progress.ts';
