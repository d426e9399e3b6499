// The table of contents of the command line: one line a command.

import type { CommandModule } from 'yargs';

export const commands: CommandModule<object, object>[] = [];
