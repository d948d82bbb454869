/** Token classes beside the mask, for objectives that treat tokens differently. */
export const TOKEN_CLASS = { content: 0, endOfTurn: 1, template: 2 } as const
