/** A row of the table `note`. */
export interface Note {
  id: number;
  title: string;
  body: string;
  created_at: string;
}
