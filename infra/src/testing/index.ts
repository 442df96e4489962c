export { type LocalS3, startLocalS3 } from './local-s3.ts';
export { startRcloneS3 } from './rclone-s3.ts';
