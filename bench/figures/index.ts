import type { Figure } from '../harness/figure.ts'
import { backgroundFigure } from './background.ts'
import { catalogFigures } from './catalog.ts'
import { databaseFigures } from './databases.ts'
import { growthFigures } from './growth.ts'
import { manyRowsFigures } from './many-rows.ts'
import { lifecycleFigure, processesFigure } from './memory-store.ts'
import { eventLoopFigure, pollFigure, provisionFigure } from './postgres-store.ts'
import { processFigures } from './process.ts'

/** All figures, in the order of the report. */
export const figures: readonly Figure[] = [
  ...catalogFigures,
  lifecycleFigure,
  processesFigure,
  pollFigure,
  provisionFigure,
  eventLoopFigure,
  ...manyRowsFigures,
  ...databaseFigures,
  backgroundFigure,
  ...growthFigures,
  ...processFigures
]
