// The table of contents of the command line: one line a command.

import type { CommandModule } from 'yargs';
import { routerCommand } from '../router/command.ts';
import { shardCommand } from '../shard/command.ts';
import { getCommand } from './tools/get.ts';
import { locateCommand } from './tools/locate.ts';
import { statusCommand } from './tools/status.ts';

export const commands: CommandModule<object, object>[] = [shardCommand, routerCommand, getCommand, statusCommand, locateCommand];
