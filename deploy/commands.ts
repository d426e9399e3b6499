// The table of contents of the command line: one line a command.

import type { CommandModule } from 'yargs';
import { routerCommand } from '../router/command.ts';
import { shardCommand } from '../shard/command.ts';
import { backupCommand } from './backup/backup-command.ts';
import { restoreCommand } from './backup/restore-command.ts';
import { splitFinishCommand } from './batch-split/finish-command.ts';
import { splitMapCommand } from './batch-split/map-command.ts';
import { splitSealCommand } from './batch-split/seal-command.ts';
import { diffCommand } from './diff/command.ts';
import { generateCommand } from './generate/command.ts';
import { inspectCommand } from './inspect/command.ts';
import { pinCommand, unpinCommand } from './publish/pin-command.ts';
import { pruneCommand } from './publish/prune-command.ts';
import { publishCommand } from './publish/publish-command.ts';
import { rollbackCommand } from './publish/rollback-command.ts';
import { versionsCommand } from './publish/versions-command.ts';
import { resliceCommand } from './reslice/command.ts';
import { serveCommand } from './serve/command.ts';
import { splitCommand } from './split/command.ts';
import { getCommand } from './tools/get.ts';
import { locateCommand } from './tools/locate.ts';
import { statusCommand } from './tools/status.ts';
import { verifyCommand } from './verify/command.ts';

export const commands: CommandModule<object, object>[] = [
  serveCommand,
  splitCommand,
  splitMapCommand,
  splitSealCommand,
  splitFinishCommand,
  resliceCommand,
  publishCommand,
  versionsCommand,
  rollbackCommand,
  pinCommand,
  unpinCommand,
  pruneCommand,
  diffCommand,
  shardCommand,
  routerCommand,
  verifyCommand,
  inspectCommand,
  backupCommand,
  restoreCommand,
  locateCommand,
  getCommand,
  statusCommand,
  generateCommand,
];
