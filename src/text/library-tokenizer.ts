/**
 * The part of @huggingface/tokenizers that is used. Its own declarations leave out the endings of
 * their files, which a TypeScript program under `nodenext` cannot resolve; ours may not name them.
 */
export interface LibraryTokenizer {
  readonly model: {
    readonly tokens_to_ids: { get(piece: string): number | undefined }
    readonly unk_token_id?: number | undefined
    _call(words: string[]): string[]
  } | null
  readonly normalizer: { normalize(text: string): string } | null
  readonly pre_tokenizer: { pre_tokenize(text: string, options?: object): string[] } | null
  id_to_token(id: number): string | undefined
  decode(
    tokenIds: number[],
    options: {
      readonly skip_special_tokens: boolean
      readonly clean_up_tokenization_spaces: boolean
    },
  ): string
}
