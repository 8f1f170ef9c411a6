import { type Static, Type } from '@sinclair/typebox'

const strict = { additionalProperties: false }
const Text = Type.String({ minLength: 1, maxLength: 2_048 })
/** Of service offerings and plans, as in the catalog. */
const Name = Type.String({ minLength: 1, maxLength: 255 })
const list = { minItems: 1 }

/** Basic credentials (RFC 7617: no colon in the name, no control character). */
const Basic = Type.Object(
  {
    username: Type.String({ pattern: '^[^:\\u0000-\\u001F\\u007F]+$', maxLength: 255 }),
    password_hash: Text
  },
  strict
)

/** Whose tokens, for whom, and what they have to say. */
const Bearer = Type.Object(
  {
    issuer: Text,
    jwks_uri: Type.Optional(Text),
    jwks_file: Type.Optional(Text),
    audience: Text,
    claims: Type.Record(Type.String({ minLength: 1 }), Type.Union([Type.String(), Type.Number(), Type.Boolean()]), {
      minProperties: 1
    })
  },
  strict
)

/** One of the two. */
const Certificate = Type.Object({ subject: Type.Optional(Text), san: Type.Optional(Text) }, strict)

/** One platform: its ways in, and what it may see and have. */
export const Platform = Type.Object(
  {
    basic: Type.Optional(Type.Array(Basic, list)),
    bearer: Type.Optional(Type.Array(Bearer, list)),
    certificate: Type.Optional(Type.Array(Certificate, list)),
    catalog: Type.Optional(
      // Empty: nothing at all
      Type.Array(Type.Object({ service: Name, plans: Type.Optional(Type.Array(Name, list)) }, strict))
    ),
    quotas: Type.Optional(
      Type.Array(
        Type.Object({ service: Name, plan: Name, instances: Type.Integer({ minimum: 0, maximum: 1_000_000 }) }, strict),
        list
      )
    )
  },
  strict
)
export type Platform = Static<typeof Platform>

/** The file that `BROKER_PLATFORMS_FILE` names: platforms by name; YAML or JSON. */
export const PlatformsFile = Type.Object(
  {
    platforms: Type.Record(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' }), Platform, {
      minProperties: 1,
      additionalProperties: false
    })
  },
  strict
)
export type PlatformsFile = Static<typeof PlatformsFile>
