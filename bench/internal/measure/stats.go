package measure

import (
	"math"
	"slices"
)

// Min is the smallest value, NaN of none.
func Min(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Min(values)
}

// Max is the largest value, NaN of none.
func Max(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Max(values)
}

// Median is the middle value, the mean of the two middle ones for an even number, NaN of none.
func Median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Ratios divides pair by pair: what was measured in the same round under the same load belongs together.
func Ratios(a, b []float64) []float64 {
	n := min(len(a), len(b))
	out := make([]float64, n)
	for i := range out {
		out[i] = a[i] / b[i]
	}
	return out
}

// Sums adds pair by pair.
func Sums(a, b []float64) []float64 {
	n := min(len(a), len(b))
	out := make([]float64, n)
	for i := range out {
		out[i] = a[i] + b[i]
	}
	return out
}

// Quantile is the smallest value that a share q of all does not exceed, NaN of none.
func Quantile(values []float64, q float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(n-1, max(0, int(math.Ceil(q*float64(n)))-1))]
}
