export { alternativeNamesOf, subjectOf } from './certificate-names.ts'
export { PlatformsError } from './mistake.ts'
export { type Platforms, rulesOfPlatform, unknownNames } from './platforms.ts'
export type { Platform } from './schema.ts'
export { type Derive, derive, hashPassword, isOf, type ScryptCost, type ScryptHash, unknownHash } from './scrypt.ts'
export {
  DEFAULT_PLATFORM,
  fixedPlatforms,
  type NamedPlatform,
  type PlatformCredentials,
  type PlatformsSource,
  ReloadablePlatforms
} from './sources.ts'
export type { BasicCredentials, TrustedCertificate, TrustedTokens } from './ways-in.ts'
