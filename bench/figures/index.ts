import type { Figure } from '../harness/figure.ts'
import { backgroundFigure } from './background.ts'
import { catalogFigures } from './catalog.ts'
import { databaseFigures } from './databases.ts'
import { lifecycleFigure } from './memory-store.ts'
import { manyRowsFigures, pollFigure, provisionFigure } from './postgres-store.ts'
import { processFigures } from './process.ts'

/** All figures, in the order of the report. */
export const figures: readonly Figure[] = [
  ...catalogFigures,
  lifecycleFigure,
  pollFigure,
  provisionFigure,
  ...manyRowsFigures,
  ...databaseFigures,
  backgroundFigure,
  ...processFigures
]
