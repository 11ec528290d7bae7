package query

// Ended is why a statement of which rows are still to be taken cannot go on: it was cancelled, or has lasted too long. Next says so too,
// but may not have been asked for a while.
func (r *Result) Ended() error {
	if err := r.ctx.Err(); r.err == nil && err != nil {
		r.err = r.reason(err)
	}
	return r.err
}
